CREATE SCHEMA IF NOT EXISTS wavemark_source;
COMMENT ON SCHEMA wavemark_source IS 'How Wavemark is told of alterations of the tables that it follows. Goes with the last task.';
GRANT USAGE ON SCHEMA wavemark_source TO PUBLIC;

-- Anybody may write messages into the log. Those of the triggers carry a number that only who may read the log can know.
CREATE SEQUENCE IF NOT EXISTS wavemark_source.token;
REVOKE ALL ON SEQUENCE wavemark_source.token FROM PUBLIC;
DO $token$ BEGIN
    PERFORM setval('wavemark_source.token', ('x' || right(replace(gen_random_uuid()::text, '-', ''), 15))::bit(60)::int8)
    FROM wavemark_source.token WHERE NOT is_called;
END $token$;

CREATE OR REPLACE FUNCTION wavemark_source.tell() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET DateStyle = 'ISO' SET IntervalStyle = 'postgres' SET TimeZone = 'UTC'
SET bytea_output = 'hex' SET extra_float_digits = 3 SET xmloption = 'content' SET lc_monetary FROM CURRENT
SET client_min_messages = 'error' AS $tell$
-- form {form}
DECLARE
    altered oid[];
    message text;
    token int8;
    has_told bool := false;
BEGIN
    SELECT last_value INTO token FROM wavemark_source.token;
    IF tg_event = 'table_rewrite' THEN
        altered := array[pg_event_trigger_table_rewrite_oid()];
    ELSIF tg_event = 'ddl_command_end' THEN
        SELECT array_agg(c.objid) FILTER (WHERE c.classid = 'pg_class'::regclass)
                || (SELECT array_agg(t.oid) FROM pg_class t
                    WHERE t.relnamespace = ANY (array_agg(c.objid) FILTER (WHERE c.classid = 'pg_namespace'::regclass)))
        INTO altered FROM pg_event_trigger_ddl_commands() c;
    ELSIF tg_tag <> 'ALTER TABLE' THEN
        SELECT array_agg(d.objid) FILTER (WHERE d.object_type = 'table column'),
               json_build_object('token', token, 'told', json_build_object(
                   'dropped', json_agg(d.objid::int8) FILTER (WHERE d.object_type = 'table')))::text
        INTO altered, message FROM pg_event_trigger_dropped_objects() d
        WHERE d.classid = 'pg_class'::regclass AND NOT d.is_temporary;
        IF message LIKE '%[%' THEN
            PERFORM pg_logical_emit_message(true, 'wavemark.ddl', convert_to(message, 'UTF8'));
            has_told := true;
        END IF;
    END IF;
    FOR message IN
        -- What is altered, the partitioned tables that it is in, and what inherits from it: without a lock on any.
        WITH RECURSIVE below (oid) AS (
            SELECT unnest(altered) UNION SELECT i.inhrelid FROM below JOIN pg_inherits i ON i.inhparent = below.oid
            WHERE tg_event <> 'table_rewrite'),
        named (oid) AS (
            SELECT oid FROM below UNION SELECT a.relid FROM unnest(altered) one, pg_partition_ancestors(one) a (relid)),
        told AS (
            SELECT c.oid, c.relkind, c.relreplident, c.relnatts, n.nspname, c.relname
            FROM named JOIN pg_class c ON c.oid = named.oid JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND (
                EXISTS (SELECT FROM pg_publication_rel r WHERE r.prrelid = c.oid)
                OR EXISTS (SELECT FROM pg_publication p WHERE p.puballtables)
                {or_by_schema}
                OR (c.relispartition AND EXISTS (
                    SELECT FROM pg_partition_ancestors(c.oid) a (relid) JOIN pg_publication_rel r ON r.prrelid = a.relid
                    JOIN pg_publication p ON p.oid = r.prpubid WHERE NOT p.pubviaroot))))
        SELECT json_build_object('token', token, 'told', CASE WHEN tg_event = 'table_rewrite'
            THEN json_build_object('rewritten', t.oid::int8, 'reason', pg_event_trigger_table_rewrite_reason())
            ELSE json_build_object(
                'altered', t.oid::int8, 'schema', t.nspname, 'name', t.relname, 'identity', t.relreplident::text,
                'ever', t.relnatts,
                'columns', (
                    SELECT coalesce(json_agg(json_build_array(
                        a.attnum, a.attname, a.atttypid::int8, a.atttypmod,
                        t.relreplident = 'f' OR EXISTS (
                            SELECT FROM pg_index i WHERE i.indrelid = t.oid
                            AND CASE t.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END
                            AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]))) ORDER BY a.attnum), '[]')
                    FROM pg_attribute a
                    WHERE a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated::text = ''),
                -- What rows have in columns that came after them, by name: partitions have numbers of their own.
                'missing', (
                    WITH RECURSIVE tree (oid) AS (
                        SELECT t.oid UNION SELECT i.inhrelid FROM tree JOIN pg_inherits i ON i.inhparent = tree.oid
                        WHERE t.relkind = 'p')
                    SELECT coalesce(json_object_agg(m.attname, CASE WHEN m.least = m.most THEN m.least END), '{}')
                    FROM (
                        SELECT a.attname, min(v.text COLLATE "C") AS least, max(v.text COLLATE "C") AS most
                        FROM tree JOIN pg_attribute a ON a.attrelid = tree.oid,
                        LATERAL (SELECT array_to_string(a.attmissingval, '')) v (text)
                        WHERE a.attnum > 0 AND NOT a.attisdropped AND a.atthasmissing GROUP BY a.attname) m))
            END)::text
        FROM told t ORDER BY t.oid
    LOOP
        PERFORM pg_logical_emit_message(true, 'wavemark.ddl', convert_to(message, 'UTF8'));
        has_told := true;
    END LOOP;
    -- A message counts as of where its record ends, which is where the next begins, and this block is a subtransaction of
    -- its own: what the statement's transaction writes next could be put before the message. So nothing may be next.
    PERFORM pg_logical_emit_message(true, 'wavemark', '') WHERE has_told;
EXCEPTION WHEN OTHERS THEN
    -- Whatever is wrong here, nobody's statement may fail for it.
    message := sqlerrm;
    BEGIN
        PERFORM pg_logical_emit_message(true, 'wavemark.ddl', '{"told": {"failed": true}}');
    EXCEPTION WHEN OTHERS THEN
        NULL;
    END;
    -- Not to the client: with the statement's text, which a database of no encoding may have in bytes that are none of its
    -- characters, even a warning fails.
    RAISE LOG 'Wavemark was not told of this change: %', message;
END $tell$;

CREATE OR REPLACE FUNCTION wavemark_source.since(OUT since pg_lsn, OUT token int8) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $since$
-- From where in the log on every alteration is told, NULL while that is not known; and the number that the messages carry.
-- The place is noted in a trigger's comment with what it holds for: where a trigger or its function was replaced, or off
-- for a while, it begins anew. What had begun before they were there is not told of: all transactions of then must be over.
DECLARE
    these text;
    noted text[];
BEGIN
    SELECT md5(string_agg(concat_ws(' ', e.oid, e.xmin, e.evtname, f.xmin), ',' ORDER BY e.evtname)) INTO these
    FROM pg_event_trigger e JOIN pg_proc f ON f.oid = e.evtfoid
    WHERE e.evtfoid = 'wavemark_source.tell'::regproc AND e.evtenabled = 'A' HAVING count(*) = 3;
    IF NOT pg_is_in_recovery() THEN
        PERFORM pg_advisory_xact_lock({lock});
    END IF;
    SELECT regexp_match(obj_description(oid, 'pg_event_trigger'), '^(made|since) (\S+) for ' || these) INTO noted
    FROM pg_event_trigger WHERE evtname = 'wavemark_altered';
    SELECT t.last_value INTO token FROM wavemark_source.token t JOIN pg_roles r ON r.rolname = session_user
    LEFT JOIN pg_roles rds ON rds.rolname = 'rds_replication'
    WHERE r.rolsuper OR r.rolreplication OR pg_has_role(session_user, rds.oid, 'MEMBER');
    IF noted IS NULL AND these IS NOT NULL AND NOT pg_is_in_recovery() THEN
        noted := array['made', extract(epoch FROM clock_timestamp())::text];
        EXECUTE format('COMMENT ON EVENT TRIGGER wavemark_altered IS %L', format('made %s for %s', noted[2], these));
    ELSIF noted[1] = 'made' AND NOT pg_is_in_recovery()
        AND NOT EXISTS (SELECT FROM pg_prepared_xacts WHERE database = current_database())
        AND NOT EXISTS (
            SELECT FROM pg_stat_activity
            WHERE datname = current_database() AND backend_type <> 'autovacuum worker' AND pid <> pg_backend_pid()
            AND application_name NOT LIKE 'wavemark %' AND extract(epoch FROM xact_start) < noted[2]::numeric) THEN
        since := pg_current_wal_insert_lsn();
        EXECUTE format('COMMENT ON EVENT TRIGGER wavemark_altered IS %L', format('since %s for %s', since, these));
    ELSIF noted[1] = 'since' THEN
        since := noted[2];
    END IF;
END $since$;

DROP EVENT TRIGGER IF EXISTS wavemark_altered;
DROP EVENT TRIGGER IF EXISTS wavemark_dropped;
DROP EVENT TRIGGER IF EXISTS wavemark_rewritten;
CREATE EVENT TRIGGER wavemark_altered ON ddl_command_end
    WHEN TAG IN ('ALTER TABLE', 'ALTER SCHEMA', 'ALTER INDEX', 'ALTER TYPE') EXECUTE FUNCTION wavemark_source.tell();
CREATE EVENT TRIGGER wavemark_dropped ON sql_drop EXECUTE FUNCTION wavemark_source.tell();
CREATE EVENT TRIGGER wavemark_rewritten ON table_rewrite EXECUTE FUNCTION wavemark_source.tell();
ALTER EVENT TRIGGER wavemark_altered ENABLE ALWAYS;
ALTER EVENT TRIGGER wavemark_dropped ENABLE ALWAYS;
ALTER EVENT TRIGGER wavemark_rewritten ENABLE ALWAYS;
