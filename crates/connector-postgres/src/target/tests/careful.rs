//! Row by row: the failing row is found and can be left out.
