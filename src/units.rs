//! Numbers for people, bytes as digits, times as numbers.

use std::time::{SystemTime, UNIX_EPOCH};

/// Whole seconds since 1970; 0 for what was before.
pub fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// `19.3 GB`: powers of 1000, as disks and hubs count.
pub fn show_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in UNITS {
        if value < 999.95 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// `12.3`, `0.42`, `0.0042`: a rate with as many digits as tell it from nothing.
pub fn show_rate(rate: f64) -> String {
    /// A rate that needs more is as good as none.
    const MAX_DIGITS: usize = 6;
    let digits = (1..MAX_DIGITS).find(|&digits| rate >= 10f64.powi(1 - digits as i32)).unwrap_or(MAX_DIGITS);
    let digits = if rate > 0.0 { digits } else { 1 };
    format!("{rate:.digits$}")
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The 32 bytes (of a SHA-256) that 64 hexadecimal digits stand for.
pub fn unhex(digits: &str) -> Option<[u8; 32]> {
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = |&[high, low]: &[u8; 2]| u8::try_from(digit(high)? << 4 | digit(low)?).ok();
    pairs.iter().map(byte).collect::<Option<Vec<u8>>>()?.try_into().ok()
}

/// The time, or the last one that there is a date for.
pub fn now() -> jiff::Timestamp {
    jiff::Timestamp::try_from(SystemTime::now()).unwrap_or(jiff::Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_shortly() {
        let shown = [0, 999, 1000, 98_362_432, 999_960_000, 19_343_818_784].map(show_bytes);
        assert_eq!(shown, ["0 B", "999 B", "1.0 kB", "98.4 MB", "1.0 GB", "19.3 GB"]);
    }

    #[test]
    fn slow_rates_are_not_nothing() {
        let shown = [0.0, 123.45, 1.0, 0.42, 0.0421, 0.0042, 1e-9].map(show_rate);
        assert_eq!(shown, ["0.0", "123.5", "1.0", "0.42", "0.042", "0.0042", "0.000000"]);
    }
}
