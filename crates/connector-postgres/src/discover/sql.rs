//! The queries of discovery: each runs once for all tables that are wanted, never per table.
//!
//! Each gives the OID that its rows belong to and a JSON object in the shape of `native.rs`. They run with an empty
//! `search_path`, so that every definition that the server writes is qualified. They need version 13; columns of the
//! catalog that are newer are looked up by name (`to_jsonb`).

/// What tables there may be. It runs for each start of each task: whatever more it looked at would be looked at for all
/// tables, and be needed of a few.
pub(super) const NAMES: &str = r"
select c.oid, n.nspname, c.relname
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'v', 'm', 'f') and not c.relispartition and c.relpersistence <> 't'
  and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'wavemark')
";

/// Those of these that belong to a user: temporary tables, those of extensions, of the system and of this product are
/// left out, and partitions, which their parent stands for. Tables that the role may not read are among them: a
/// mapping that selects one must fail by name, not pass it over in silence.
pub(super) const TABLES: &str = r#"
with recursive
listed as materialized (
    select c.oid, n.nspname, c.relname, c.relkind, c.relreplident, c.relfilenode, c.reltuples, c.relpersistence
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.oid = any($1) and c.relkind in ('r', 'p', 'v', 'm', 'f')
      and not c.relispartition
      and c.relpersistence <> 't'
      and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'wavemark')
      and not exists (select from pg_depend d
                      where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
),
tree(root, oid) as (
    select oid, oid from listed where relkind = 'p'
    union all
    select tree.root, i.inhrelid from tree join pg_inherits i on i.inhparent = tree.oid
),
leaves as (
    select tree.root, bool_or(c.relpersistence = 'u') as unlogged, sum(greatest(c.reltuples, 0))::float8 as rows, bool_and(c.reltuples < 0) as unknown,
           sum(pg_table_size(c.oid))::bigint as bytes,
           jsonb_agg(jsonb_build_array(c.oid::bigint, c.relfilenode::bigint))::text as storage,
           min(format('%I.%I', n.nspname, c.relname)) filter (where c.relreplident <> 'f' and not exists (
               select from pg_index i where i.indrelid = c.oid and i.indisvalid and i.indimmediate
               and case c.relreplident when 'd' then i.indisprimary else i.indisreplident end)) as without_identity
    from tree join pg_class c on c.oid = tree.oid join pg_namespace n on n.oid = c.relnamespace
    where c.relkind = 'r'
    group by tree.root
)
select l.oid, l.nspname, l.relname, l.relkind::text,
       case when l.relkind = 'p' then case when leaves.unknown then null else leaves.rows end
            when l.relkind in ('r', 'm') and l.reltuples >= 0 then l.reltuples::float8 end as rows,
       case when l.relkind = 'p' then coalesce(leaves.bytes, 0)
            when l.relkind in ('r', 'm') then pg_table_size(l.oid) end as bytes,
       jsonb_build_object('oid', l.oid::bigint, 'relkind', l.relkind,
                          'storage', coalesce(leaves.storage, format('[[%s,%s]]', l.oid, l.relfilenode)),
                          'replica_identity', l.relreplident,
                          'updates_refused', current_setting('server_version_num')::int >= 180000 and exists (
                              select from (select l.oid where l.relkind = 'r'
                                           union all select tree.oid from tree where tree.root = l.oid) t
                              join pg_class c on c.oid = t.oid and c.relkind = 'r' and c.relreplident = 'f'
                              join pg_attribute a on a.attrelid = c.oid and a.attgenerated <> '' and not a.attisdropped),
                          'partition_without_identity', leaves.without_identity,
                          'unlogged', l.relpersistence = 'u' or coalesce(leaves.unlogged, false),
                          'comment', obj_description(l.oid, 'pg_class'),
                          'partitioning', (
                              select jsonb_build_object(
                                         'strategy', p.partstrat,
                                         'columns', (select jsonb_agg(a.attname order by k.at)
                                                     from unnest(p.partattrs::int2[]) with ordinality k(num, at)
                                                     left join pg_attribute a
                                                       on a.attrelid = p.partrelid and a.attnum = k.num and k.num <> 0))
                              from pg_partitioned_table p where p.partrelid = l.oid)) as native
from listed l left join leaves on leaves.root = l.oid
order by l.nspname collate pg_catalog."C", l.relname collate pg_catalog."C"
"#;

/// The columns of these tables in their order.
pub(super) const COLUMNS: &str = r"
select a.attrelid, a.attname, a.atttypid, pg_catalog.format_type(a.atttypid, a.atttypmod) as declared,
       a.attnotnull, a.attgenerated <> '' as generated,
       jsonb_build_object(
           'attnum', a.attnum, 'type_modifier', a.atttypmod,
           'collation', (select jsonb_build_object('schema', n.nspname, 'name', co.collname)
                         from pg_collation co join pg_namespace n on n.oid = co.collnamespace, pg_type t
                         where co.oid = a.attcollation and t.oid = a.atttypid and t.typcollation <> a.attcollation),
           'identity', case a.attidentity when 'a' then 'always' when 'd' then 'by-default' end,
           'default', case when a.attgenerated = '' then pg_get_expr(d.adbin, d.adrelid) end,
           'virtual', a.attgenerated = 'v',
           'generated', case when a.attgenerated <> '' then pg_get_expr(d.adbin, d.adrelid) end,
           'comment', col_description(a.attrelid, a.attnum)) as native
from pg_attribute a
left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
where a.attrelid = any($1) and a.attnum > 0 and not a.attisdropped
order by a.attrelid, a.attnum
";

/// The types that are used, and what those are made of.
macro_rules! types_of {
    ($used:literal) => {
        concat!(
            "with recursive used(oid) as (",
            $used,
            r"
    union
    select part.oid from used join pg_type t on t.oid = used.oid, lateral (
        select t.typelem where t.typelem <> 0 and t.typlen = -1
        union all select t.typbasetype where t.typtype = 'd'
        union all select r.rngsubtype from pg_range r where r.rngtypid = t.oid
        union all select r.rngtypid from pg_range r where (to_jsonb(r) ->> 'rngmultitypid')::oid = t.oid
        union all select a.atttypid from pg_attribute a
                  where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
    ) part(oid)
)
select t.oid, n.nspname, t.typname, t.typtype::text, t.typsend <> 0 and t.typreceive <> 0 as binary,
       case when t.typelem <> 0 and t.typlen = -1 and t.oid not in (22, 30) then t.typelem
            when t.typtype = 'd' then t.typbasetype
            when t.typtype = 'r' then r.rngsubtype
            when t.typtype = 'm' then mr.rngtypid end as inner,
       t.typelem <> 0 and t.typlen = -1 and t.oid not in (22, 30) as is_array,
       coalesce((select array_agg(a.atttypid order by a.attnum) from pg_attribute a
                 where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped),
                '{}') as attributes,
       coalesce((select array_agg(a.attnum order by a.attnum) from pg_attribute a
                 where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped),
                '{}') as numbers,
       case t.typtype when 'e' then
           (select jsonb_agg(jsonb_build_object('oid', e.oid::int8, 'label', e.enumlabel) order by e.oid)
            from pg_enum e where e.enumtypid = t.oid) end as labels,
       (select e.extname from pg_depend d join pg_extension e on e.oid = d.refobjid
        where d.classid = 'pg_type'::regclass and d.objid = t.oid and d.deptype = 'e'
          and d.refclassid = 'pg_extension'::regclass limit 1) as extension,
       case t.typtype
           when 'e' then jsonb_build_object('is', 'enum', 'labels',
               (select coalesce(jsonb_agg(e.enumlabel order by e.enumsortorder), '[]') from pg_enum e
                where e.enumtypid = t.oid))
           when 'd' then jsonb_build_object(
               'is', 'domain', 'declared', format_type(t.typbasetype, t.typtypmod),
               'collation', (select jsonb_build_object('schema', cn.nspname, 'name', co.collname)
                             from pg_collation co join pg_namespace cn on cn.oid = co.collnamespace, pg_type b
                             where co.oid = t.typcollation and b.oid = t.typbasetype
                               and b.typcollation <> t.typcollation),
               'not_null', t.typnotnull, 'default', pg_get_expr(t.typdefaultbin, 0),
               'checks', (select coalesce(jsonb_agg(jsonb_build_object('name', c.conname,
                                                    'definition', pg_get_constraintdef(c.oid))
                                                    order by c.conname), '[]')
                          from pg_constraint c where c.contypid = t.oid and c.contype = 'c'))
           when 'c' then jsonb_build_object('is', 'composite', 'attributes',
               (select coalesce(jsonb_agg(jsonb_build_object(
                           'name', a.attname, 'declared', format_type(a.atttypid, a.atttypmod),
                           'collation', (select jsonb_build_object('schema', cn.nspname, 'name', co.collname)
                                         from pg_collation co join pg_namespace cn on cn.oid = co.collnamespace, pg_type b
                                         where co.oid = a.attcollation and b.oid = a.atttypid
                                           and b.typcollation <> a.attcollation)) order by a.attnum), '[]')
                from pg_attribute a where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped))
           when 'r' then jsonb_build_object(
               'is', 'range', 'subtype', format_type(r.rngsubtype, null),
               'collation', (select jsonb_build_object('schema', cn.nspname, 'name', co.collname)
                             from pg_collation co join pg_namespace cn on cn.oid = co.collnamespace, pg_type b
                             where co.oid = r.rngcollation and b.oid = r.rngsubtype
                               and b.typcollation <> r.rngcollation),
               'multirange', (select m.typname from pg_type m where m.oid = (to_jsonb(r) ->> 'rngmultitypid')::oid))
       end as shape,
       case t.typtype when 'd' then t.typtypmod end as modifier
from used join pg_type t on t.oid = used.oid join pg_namespace n on n.oid = t.typnamespace
left join pg_range r on r.rngtypid = t.oid
left join pg_range mr on (to_jsonb(mr) ->> 'rngmultitypid')::oid = t.oid
"
        )
    };
}

/// Every type that the columns of these tables use.
pub(super) const TYPES: &str = types_of!(
    "select distinct a.atttypid from pg_attribute a where a.attrelid = any($1) and a.attnum > 0 and not a.attisdropped"
);

/// These types.
pub(super) const TYPES_BY_ID: &str = types_of!("select unnest($1::oid[])");

/// Constraints of these tables: `kind` is `p`, `u`, `c`, `x` or `f`.
pub(super) const CONSTRAINTS: &str = r"
select c.conrelid, c.contype::text as kind,
       case c.contype
           when 'c' then jsonb_build_object('name', c.conname, 'definition', pg_get_constraintdef(c.oid))
           when 'x' then jsonb_build_object('name', c.conname, 'definition', pg_get_constraintdef(c.oid))
           when 'f' then jsonb_build_object(
               'name', c.conname, 'columns', own.names,
               'target', jsonb_build_object('schema', tn.nspname, 'name', tc.relname), 'target_columns', (
                   select jsonb_agg(a.attname order by k.at)
                   from unnest(c.confkey) with ordinality k(num, at)
                   join pg_attribute a on a.attrelid = c.confrelid and a.attnum = k.num),
               'on_update', c.confupdtype, 'on_delete', c.confdeltype, 'match', c.confmatchtype,
               'deferrable', c.condeferrable, 'deferred', c.condeferred, 'validated', c.convalidated,
               'special', (to_jsonb(c) ->> 'confdelsetcols') is not null
                   or coalesce((to_jsonb(c) ->> 'conperiod')::boolean, false))
           else jsonb_build_object(
               'name', c.conname, 'columns', own.names, 'included', coalesce((
                   select jsonb_agg(a.attname order by k.at)
                   from unnest(i.indkey::int2[]) with ordinality k(num, at)
                   join pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.num
                   where k.at > i.indnkeyatts), '[]'),
               'deferrable', c.condeferrable, 'deferred', c.condeferred,
               'nulls_not_distinct', coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false))
       end as constraint
from pg_constraint c
left join pg_index i on i.indexrelid = c.conindid and c.contype in ('p', 'u')
left join pg_class tc on tc.oid = c.confrelid
left join pg_namespace tn on tn.oid = tc.relnamespace
cross join lateral (
    select jsonb_agg(a.attname order by k.at) as names
    from unnest(c.conkey) with ordinality k(num, at)
    join pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.num) own
where c.conrelid = any($1) and c.contype in ('p', 'u', 'c', 'x', 'f') and c.conparentid = 0
order by c.conrelid, c.conname
";

/// Indexes of these tables that belong to no constraint. The server writes a definition as it is now, or none: of one that
/// has another name since the snapshot it is NULL, too.
pub(super) const INDEXES: &str = r"
select i.indrelid,
       jsonb_build_object(
           'name', ic.relname, 'unique', i.indisunique, 'partial', i.indpred is not null,
           'columns', (select jsonb_agg(a.attname order by k.at)
                       from unnest(i.indkey::int2[]) with ordinality k(num, at)
                       left join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.num and k.num <> 0
                       where k.at <= i.indnkeyatts),
           'definition', case when starts_with(whole.text, whole.head)
                              then substr(whole.text, length(whole.head) + 1) end) as index
from pg_index i
join pg_class ic on ic.oid = i.indexrelid
join pg_class tc on tc.oid = i.indrelid
join pg_namespace tn on tn.oid = tc.relnamespace
cross join lateral (
    select pg_get_indexdef(i.indexrelid) as text, format('CREATE %sINDEX %s ON %s%s.%s ',
               case when i.indisunique then 'UNIQUE ' else '' end, quote_ident(ic.relname),
               case when ic.relkind = 'I' then 'ONLY ' else '' end,
               quote_ident(tn.nspname), quote_ident(tc.relname)) as head) whole
where i.indrelid = any($1) and i.indisvalid
  and not exists (select from pg_constraint c where c.conrelid = i.indrelid and c.conindid = i.indexrelid and c.contype in ('p', 'u', 'x'))
order by i.indrelid, ic.relname
";

/// The columns of the index that was chosen as replica identity, in its order.
pub(super) const IDENTITIES: &str = r"
select i.indrelid, array_agg(a.attname::text order by k.at) as columns
from pg_index i, unnest(i.indkey::int2[]) with ordinality k(num, at), pg_attribute a
where i.indrelid = any($1) and i.indisreplident and k.at <= i.indnkeyatts
  and a.attrelid = i.indrelid and a.attnum = k.num
group by i.indrelid
";

/// Sequences that columns own, are, or take their default from.
pub(super) const SEQUENCES: &str = r"
with behind as (
    select d.refobjid as relation, d.refobjsubid as attnum, d.objid as sequence,
           d.deptype = 'i' as identity, true as owned
    from pg_depend d
    where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass
      and d.deptype in ('a', 'i') and d.refobjid = any($1) and d.refobjsubid > 0
    union
    select ad.adrelid, ad.adnum, d.refobjid, false, false
    from pg_attrdef ad
    join pg_depend d on d.classid = 'pg_attrdef'::regclass and d.objid = ad.oid
                    and d.refclassid = 'pg_class'::regclass and d.deptype = 'n'
    where ad.adrelid = any($1)
      and not exists (select from pg_depend o
                      where o.classid = 'pg_class'::regclass and o.objid = d.refobjid
                        and o.refclassid = 'pg_class'::regclass and o.refobjid = ad.adrelid
                        and o.refobjsubid = ad.adnum and o.deptype in ('a', 'i'))
)
select b.relation, b.attnum, c.oid as sequence, a.attname,
       jsonb_build_object(
           'schema', n.nspname, 'name', c.relname, 'column', a.attname, 'identity', b.identity, 'owned', b.owned,
           'data_type', format_type(s.seqtypid, null), 'start', s.seqstart, 'increment', s.seqincrement,
           'min', s.seqmin, 'max', s.seqmax, 'cache', s.seqcache, 'cycle', s.seqcycle) as definition
from behind b
join pg_class c on c.oid = b.sequence and c.relkind = 'S'
join pg_namespace n on n.oid = c.relnamespace
join pg_sequence s on s.seqrelid = c.oid
join pg_attribute a on a.attrelid = b.relation and a.attnum = b.attnum
order by b.relation, b.attnum, n.nspname, c.relname
";
