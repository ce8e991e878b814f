insert into shop.categories
select n, nullif(n / 10, 0), 'Category ' || n, 'category-' || n from generate_series(1, {categories}) n;

insert into shop.warehouses (id, code, name, spot, shift)
select n, 'W' || lpad(n::text, 3, '0'), 'Warehouse ' || n, point(n * 1.5, -n / 3.0), make_interval(hours => 6 + n)
from generate_series(1, {warehouses}) n;

insert into shop.customers (email, name, status, home, tags, profile, born, last_ip, created_at)
select 'customer' || n || '@example.org', 'Customer ' || n,
       (enum_range(null::shop.customer_status))[1 + n % 5],
       case when n % 9 = 0 then null
            else row('Street ' || n % 977, lpad((n % 99999)::text, 5, '0'), 'Town "' || n % 300 || '"', 'DE')::shop.address end,
       case n % 4 when 0 then '{}' when 1 then array['news'] when 2 then array['news', null, 'a,b "c"'] else array['vip', 'äöü'] end,
       jsonb_build_object('visits', n % 1000, 'ratio', n / 7.0, 'langs', jsonb_build_array('de', 'en'), 'note', null),
       date '1940-01-01' + n % 25000, ('10.' || n % 256 || '.' || n / 256 % 256 || '.1')::inet,
       timestamptz '2020-01-01 00:00+00' + n * interval '7 minutes 0.000123 seconds'
from generate_series(1, {customers}) n;

insert into shop.products (sku, category_id, name, price, tax_rate, sizes, attributes, weight_kg, description, picture, on_sale)
select chr(65 + n % 26) || 'X-' || lpad(n::text, 6, '0'), 1 + n % {categories}, 'Product ' || n,
       (n % 50000) / 100.0 + 0.5, (array[19, 7, 0])[1 + n % 3],
       array[n / 3.0, n / 7.0, 'NaN', 'Infinity']::float8[],
       jsonb_build_object('color', (array['red', 'green', 'blue'])[1 + n % 3], 'stock', jsonb_build_object('min', n % 7)),
       n / 11.0, case when n % 10 = 0 then repeat(md5(n::text), 40 + n % 100) end,
       case when n % 50 = 0 then decode(repeat(md5(n::text || 'p'), 120), 'hex') end,
       case when n % 5 = 0 then tstzrange('2026-01-01+00', '2026-01-01+00'::timestamptz + n * interval '1 hour') end
from generate_series(1, {products}) n;

insert into shop.stock
select w, p, (w * 7919 + p * 104729) % 500, timestamptz '2026-01-01 00:00+00' + p * interval '1 minute'
from generate_series(1, {warehouses}) w, generate_series(1, {products}) p;

insert into shop.orders (number, customer_id, status, placed_at, ship_to, total, note)
select 'O-' || n, 1 + (n * 7919::bigint) % {customers}, (enum_range(null::shop.order_status))[1 + n % 5],
       timestamptz '2025-01-01 00:00+00' + n * interval '3 minutes',
       case when n % 3 = 0 then row('Road ' || n, '10115', 'Berlin', 'DE')::shop.address end,
       (n % 90000) / 100.0, case when n % 20 = 0 then 'Ring twice.\nThen wait.' || E'\n\t"' || n || '"' end
from generate_series(1, {orders}) n;

insert into shop.order_lines (order_id, line_no, product_id, quantity, unit_price)
select o, l, 1 + (o * 31 + l * 17) % {products}, 1 + (o + l) % 9, (o % 10000) / 100.0
from generate_series(1, {orders}) o, generate_series(1, {lines}) l;

insert into shop.payments (paid_on, order_id, method, amount, remark)
select date '2025-01-01' + (n % 800)::int, n, (enum_range(null::shop.payment_method))[1 + n % 4], (n % 90000) / 100.0,
       case when n % 100 = 0 then 'checked' end
from generate_series(1, {orders} / 2) n;

insert into shop.accounts (id, owner, balance) select n, 'Account ' || n, 1000000 from generate_series(1, {accounts}) n;

insert into shop.documents (title, body, attachment)
select 'Document ' || n, (select string_agg(md5((n * 1000 + k)::text), '') from generate_series(1, 100 + (n % 400)::int) k),
       case when n % 7 = 0 then decode(repeat(md5(n::text), 300), 'hex') end
from generate_series(1, {documents}) n;

insert into shop.carts (customer_id, items)
select 1 + n % {customers}, jsonb_build_array(jsonb_build_object('product', n % {products}, 'n', 1 + n % 3))
from generate_series(1, {carts}) n;

insert into shop.settings select 'setting.' || n, 'value ' || n from generate_series(1, 500) n;

insert into shop.seats select n, n, 'Guest ' || n from generate_series(1, 400) n;

insert into shop.notices (text) select 'Notice ' || n from generate_series(1, 50) n;

insert into shop.audit_log
select timestamptz '2026-01-01 00:00+00' + (n / 2) * interval '1 second', case when n % 5 > 0 then 'user' || n % 50 end,
       jsonb_build_object('n', n / 2), n % 10
from generate_series(1, {audit}) n;

insert into shop.measurements
select n, (n % 65536 - 32768)::smallint, n / 3.0, -n / 7.0, n * 1.000000000000000000001, date '2000-01-01' + (n % 9000)::int,
       timestamptz '1999-12-31 23:59:59.999999+00' + n * interval '1 hour 1 microsecond',
       timestamp '0044-03-15 12:00 BC' + n * interval '1 day', time '00:00' + n % 86400 * interval '1 second',
       ('12:00:00.5+' || lpad((n % 14)::text, 2, '0'))::timetz, n % 100 * interval '1 month -2 days 00:00:00.000001',
       (n % 256)::int::bit(8), (n % 2 = 0)::int::bit(1)::bit varying, decode(md5(n::text), 'hex'),
       ('{"b": ' || n || ',  "a": [1, 1.0, "\u00e4"], "b": 2}')::json, array[[n, 2], [3, null]]::int[], to_tsvector('simple', 'the fat cat ' || n),
       array['10.0.0.0/8', 'fe80::/10']::cidr[], '08:00:2b:01:02:03', int4range(1, 1 + n::int), 'pad' || n % 99
from generate_series(1, {measurements}) n;

insert into shop.measurements (id, small, single, twice, exact, day, moment, local, clock, span, doc, grid) values
    (-1, -32768, 'NaN', '-Infinity', 'NaN', 'infinity', '-infinity', 'infinity', '24:00', '-178000000 years', 'null', '{}'),
    (-2, 32767, '-0', '1e-308', 'Infinity', '4713-01-01 BC', '294276-12-31 23:59:59.999999+00', '4713-11-24 BC', '00:00', '0', '[]', '[0:1]={1,2}'),
    (-3, null, '3.4028235e38', '1.7976931348623157e308', '-Infinity', '-infinity', '4714-11-24 00:00:00+00 BC', null, null, null, '"\\u0001"', null),
    (-4, 0, 1e-45, 5e-324, 0.00000000000000000000000000000000000001, '0001-01-01', '1970-01-01 00:00+00', '1970-01-01', '23:59:59.999999', '178000000 years', '1e400', '{{{1}}}');
