//! Servers of Amazon RDS and Aurora: nobody there is a superuser, settings are made in a parameter group, and membership
//! in a role stands for an attribute. So what mends a thing there is not what mends it elsewhere.

use crate::wire::quote_identifier;

/// SQL that is true on such a server.
pub(crate) const IS_RDS: &str = "(current_setting('rds.logical_replication', true) IS NOT NULL \
    OR EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'rds_superuser'))";

/// What sets a parameter; `restart` when it counts only from the next start on.
pub(crate) fn set(is_rds: bool, name: &str, value: &str, restart: bool) -> String {
    match (is_rds, restart) {
        (true, true) => {
            format!(
                "Set {name} = {value} in the parameter group of the instance (Aurora: of the cluster), and reboot it."
            )
        }
        (true, false) => {
            format!("Set {name} = {value} in the parameter group of the instance (Aurora: of the cluster).")
        }
        (false, true) => format!("ALTER SYSTEM SET {name} = {value}; -- then restart the server"),
        (false, false) => format!("ALTER SYSTEM SET {name} = {value}; SELECT pg_reload_conf();"),
    }
}

/// What makes the log hold what following needs.
pub(crate) fn set_logical(is_rds: bool) -> String {
    let (name, value) = if is_rds { ("rds.logical_replication", "1") } else { ("wal_level", "logical") };
    set(is_rds, name, value, true)
}

/// What gives a role the right to replicate.
pub(crate) fn grant_replication(is_rds: bool, role: &str) -> String {
    let role = quote_identifier(role);
    if is_rds { format!("GRANT rds_replication TO {role};") } else { format!("ALTER ROLE {role} REPLICATION;") }
}
