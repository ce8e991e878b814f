//! Values whose binary form holds oids.
