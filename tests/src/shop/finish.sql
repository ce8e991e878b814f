alter table shop.categories add unique (slug), add foreign key (parent_id) references shop.categories;

create unique index customers_email on shop.customers (lower(email));
alter table shop.customers add constraint customers_public_id unique (public_id);
create index customers_tags on shop.customers using gin (tags);

alter table shop.products add unique (sku), add foreign key (category_id) references shop.categories;
create index products_active on shop.products (category_id, price desc) include (name) where active;

alter table shop.warehouses add unique (code);

alter table shop.stock add foreign key (warehouse_id) references shop.warehouses,
    add foreign key (product_id) references shop.products;

alter table shop.orders add unique (number), add constraint orders_customer foreign key (customer_id) references shop.customers;
create index orders_placed on shop.orders (customer_id, placed_at desc nulls last);

alter table shop.order_lines add foreign key (order_id) references shop.orders on delete cascade,
    add foreign key (product_id) references shop.products;
create index order_lines_product on shop.order_lines (product_id);

alter table shop.payments add foreign key (order_id) references shop.orders on delete cascade;
create index payments_order on shop.payments (order_id);

alter table shop.transfers add foreign key (from_id) references shop.accounts, add foreign key (to_id) references shop.accounts,
    add check (from_id <> to_id);

alter table shop.carts add foreign key (customer_id) references shop.customers on delete set null;

alter table shop.seats add constraint seats_seat unique (seat);
create unique index hist_client on shop.hist (client, n);

analyze;
