//! Versions as servers say them.

/// The three numbers of `5.5.5-10.11.6-MariaDB` or `9.7.4`. MariaDB puts the first three in front for old clients.
pub(crate) fn of(told: &str) -> (u16, u16, u16) {
    let told = told.strip_prefix("5.5.5-").unwrap_or(told);
    let mut numbers = told.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    (next(), next(), next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_three_numbers() {
        assert_eq!(of("5.5.5-10.11.19-MariaDB-0+deb12u1-log"), (10, 11, 19));
        assert_eq!(of("11.8.2-MariaDB"), (11, 8, 2));
        assert_eq!(of("5.7.44-log"), (5, 7, 44));
        assert_eq!(of("8.0.13"), (8, 0, 13));
        assert_eq!(of("odd"), (0, 0, 0));
    }
}
