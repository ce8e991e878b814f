//! Figures as people read them. What isn't known is [`UNKNOWN`], never 0.

/// What stands for a figure that isn't known.
pub const UNKNOWN: &str = "–";
/// Between groups of three digits, and between a figure and its unit: narrow, and no line breaks there.
pub const THIN: char = '\u{202f}';

/// A whole number in groups of three: `1 204 551`.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 * THIN.len_utf8());
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(THIN);
        }
        text.push(digit);
    }
    text
}

/// A number in few digits: `950`, `12.4 k`, `1.9 M`.
#[must_use]
pub fn brief(number: f64) -> String {
    let (scaled, unit) = scale(number, 1_000.0, &["", "k", "M", "G", "T"]);
    join(&figure(scaled, unit.is_empty()), unit)
}

/// A rate: `410 /s`, `12.4 k/s`.
#[must_use]
pub fn rate(per_second: f64) -> String {
    let (scaled, unit) = scale(per_second, 1_000.0, &["", "k", "M", "G", "T"]);
    join(&figure(scaled, false), &format!("{unit}/s"))
}

/// Bytes in IEC units: `512 B`, `14 MiB`, `1.2 GiB`.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub fn bytes(bytes: u64) -> String {
    let (scaled, unit) = scale(bytes as f64, 1_024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB"]);
    join(&figure(scaled, unit == "B"), unit)
}

/// A lag or any other length of time in the largest unit that fits: `240 ms`, `1.4 s`, `3.2 min`, `5 h`, `2.1 d`.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub fn lag(milliseconds: u64) -> String {
    let ms = milliseconds as f64;
    let (scaled, unit) = match milliseconds {
        0..1_000 => (ms, "ms"),
        1_000..60_000 => (ms / 1_000.0, "s"),
        60_000..3_600_000 => (ms / 60_000.0, "min"),
        3_600_000..172_800_000 => (ms / 3_600_000.0, "h"),
        _ => (ms / 86_400_000.0, "d"),
    };
    join(&figure(scaled, unit == "ms"), unit)
}

/// A length of time in its two largest units: `42 s`, `6 min`, `3 h 20 min`, `12 d 4 h`.
#[must_use]
pub fn duration(seconds: u64) -> String {
    let (large, small, units) = match seconds {
        0..60 => return join(&seconds.to_string(), "s"),
        60..3_600 => return join(&(seconds / 60).to_string(), "min"),
        3_600..86_400 => (seconds / 3_600, seconds % 3_600 / 60, ["h", "min"]),
        _ => (seconds / 86_400, seconds % 86_400 / 3_600, ["d", "h"]),
    };
    let large = join(&large.to_string(), units[0]);
    if small == 0 { large } else { format!("{large} {}", join(&small.to_string(), units[1])) }
}

/// A figure that may not be known.
#[must_use]
pub fn or_unknown<T>(figure: Option<T>, show: impl FnOnce(T) -> String) -> String {
    figure.map_or_else(|| UNKNOWN.to_owned(), show)
}

/// A part of a whole in whole percent, never 100 before it is whole.
#[must_use]
pub fn percent(part: u64, whole: u64) -> Option<u8> {
    let share = u128::from(part.min(whole)) * 100 / u128::from(whole).max(1);
    (whole > 0).then(|| u8::try_from(share).unwrap_or(100))
}

/// `1 table`, `3 tables`.
#[must_use]
pub fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// A word of the API as people read it: `clean-up-pending` is `Clean up pending`.
#[must_use]
pub fn word(word: &str) -> String {
    let mut letters = word.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().collect::<String>() + letters.as_str())
        .replace('-', " ")
}

fn scale<'a>(number: f64, step: f64, units: &[&'a str]) -> (f64, &'a str) {
    let mut scaled = number.max(0.0);
    let mut at = 0;
    // What would be shown as 1000 of a unit is one of the next.
    while scaled >= step - 0.5 && at + 1 < units.len() {
        scaled /= step;
        at += 1;
    }
    (scaled, units[at])
}

/// Three digits at most before the unit says more; a decimal only where it tells something.
fn figure(number: f64, whole: bool) -> String {
    let text = if whole || number >= 99.95 { format!("{number:.0}") } else { format!("{number:.1}") };
    text.strip_suffix(".0").map_or_else(|| text.clone(), str::to_owned)
}

fn join(figure: &str, unit: &str) -> String {
    if unit.is_empty() { figure.to_owned() } else { format!("{figure}{THIN}{unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_in_groups_of_three() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_000), "1\u{202f}000");
        assert_eq!(count(31_002_921), "31\u{202f}002\u{202f}921");
    }

    #[test]
    fn rates_keep_three_digits() {
        assert_eq!(rate(0.0), "0\u{202f}/s");
        assert_eq!(rate(0.42), "0.4\u{202f}/s");
        assert_eq!(rate(410.0), "410\u{202f}/s");
        assert_eq!(rate(12_440.0), "12.4\u{202f}k/s");
        assert_eq!(rate(999_990.0), "1\u{202f}M/s");
        assert_eq!(brief(46_400_000.0), "46.4\u{202f}M");
        assert_eq!(brief(12.0), "12");
    }

    #[test]
    fn bytes_come_in_iec_units() {
        assert_eq!(bytes(0), "0\u{202f}B");
        assert_eq!(bytes(1_023), "1023\u{202f}B");
        assert_eq!(bytes(1_024), "1\u{202f}KiB");
        assert_eq!(bytes(14 << 20), "14\u{202f}MiB");
        assert_eq!(bytes(1_288_490_189), "1.2\u{202f}GiB");
    }

    #[test]
    fn a_lag_comes_in_the_largest_unit_that_fits() {
        assert_eq!(lag(0), "0\u{202f}ms");
        assert_eq!(lag(240), "240\u{202f}ms");
        assert_eq!(lag(1_400), "1.4\u{202f}s");
        assert_eq!(lag(12_000), "12\u{202f}s");
        assert_eq!(lag(192_000), "3.2\u{202f}min");
        assert_eq!(lag(18_000_000), "5\u{202f}h");
        assert_eq!(lag(181_440_000), "2.1\u{202f}d");
    }

    #[test]
    fn a_duration_names_its_two_largest_units() {
        assert_eq!(duration(42), "42\u{202f}s");
        assert_eq!(duration(370), "6\u{202f}min");
        assert_eq!(duration(12_000), "3\u{202f}h 20\u{202f}min");
        assert_eq!(duration(1_051_200), "12\u{202f}d 4\u{202f}h");
        assert_eq!(duration(86_400), "1\u{202f}d");
    }

    #[test]
    fn a_share_is_whole_only_when_everything_is_done() {
        assert_eq!(percent(0, 0), None);
        assert_eq!(percent(999, 1_000), Some(99));
        assert_eq!(percent(1_000, 1_000), Some(100));
        assert_eq!(percent(1_200, 1_000), Some(100));
    }

    #[test]
    fn what_is_not_known_is_a_dash() {
        assert_eq!(or_unknown(None, lag), "–");
        assert_eq!(or_unknown(Some(0), lag), "0\u{202f}ms");
    }

    #[test]
    fn words_of_the_api_are_readable() {
        assert_eq!(word("clean-up-pending"), "Clean up pending");
        assert_eq!(counted(1, "table", "tables"), "1 table");
        assert_eq!(counted(59, "table", "tables"), "59 tables");
    }
}
