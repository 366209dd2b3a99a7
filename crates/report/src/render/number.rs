//! Numbers for people: the same everywhere, as precise as the measurement and not more.

use crate::statistics::Unit;

/// `1234567` as `1,234,567`.
#[must_use]
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Three significant digits, which is what the histograms have; thousands separated.
fn significant(number: f64) -> String {
    let magnitude = number.abs();
    match magnitude {
        _ if number.fract() == 0.0 && magnitude < 1e15 => signed_thousands(number),
        _ if magnitude >= 99.95 => signed_thousands(number.round()),
        _ if magnitude >= 9.995 => format!("{number:.1}"),
        _ if magnitude >= 0.9995 => format!("{number:.2}"),
        _ => format!("{number:.3}"),
    }
}

fn signed_thousands(number: f64) -> String {
    let text = thousands(number.abs() as u64);
    if number < 0.0 { format!("-{text}") } else { text }
}

/// A number in its unit: `12.5 ms`, `3.21 s`, `1,204`, `97.8 %`, `4.2 MiB`.
#[must_use]
pub fn amount(number: f64, unit: Unit) -> String {
    match unit {
        Unit::Milliseconds => duration(number),
        Unit::Bytes => bytes(number),
        Unit::Ratio => share(number),
        Unit::Count => significant(number),
    }
}

/// Milliseconds as people say them: `85 µs`, `12.5 ms`, `3.21 s`, `4 min 10 s`, `2 h 5 min`.
#[must_use]
pub fn duration(ms: f64) -> String {
    let (minutes, hours) = (60_000.0, 3_600_000.0);
    match ms.abs() {
        0.0 => "0 ms".into(),
        it if it < 0.9995 => format!("{:.0} µs", ms * 1000.0),
        it if it < 999.5 => format!("{} ms", significant(ms)),
        it if it < minutes => format!("{} s", significant(ms / 1000.0)),
        it if it < hours => two(ms, minutes, "min", 1000.0, "s"),
        _ => two(ms, hours, "h", minutes, "min"),
    }
}

fn two(ms: f64, large: f64, large_name: &str, small: f64, small_name: &str) -> String {
    let smalls = (ms / small).round() as u64;
    let per_large = (large / small) as u64;
    match smalls % per_large {
        0 => format!("{} {large_name}", smalls / per_large),
        rest => format!("{} {large_name} {rest} {small_name}", smalls / per_large),
    }
}

/// Bytes in binary units: `512 B`, `4.2 MiB`.
#[must_use]
pub fn bytes(number: f64) -> String {
    let (mut number, mut unit) = (number, "B");
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if number.abs() < 1024.0 {
            break;
        }
        (number, unit) = (number / 1024.0, larger);
    }
    format!("{} {unit}", significant(number))
}

/// How many times: `5.53 ×`.
#[must_use]
pub fn times(number: f64) -> String {
    format!("{} ×", significant(number))
}

/// A share in percent. Never rounds up to 100 % or down to 0 %: `99.998 %` is not all.
fn share(number: f64) -> String {
    let percent = number * 100.0;
    for digits in 1..=4 {
        let text = format!("{percent:.digits$}");
        let is_whole = text.parse::<f64>().is_ok_and(|it| it == 100.0 || it == 0.0);
        if !is_whole || percent == 100.0 || percent == 0.0 {
            return format!("{} %", text.trim_end_matches('0').trim_end_matches('.'));
        }
    }
    if percent > 50.0 { "> 99.9999 %".into() } else { "< 0.0001 %".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_can_read_them() {
        for (text, expected) in [
            (thousands(0), "0"),
            (thousands(999), "999"),
            (thousands(1_000), "1,000"),
            (thousands(1_234_567), "1,234,567"),
            (duration(0.0), "0 ms"),
            (duration(0.085), "85 µs"),
            (duration(0.9999), "1.00 ms"),
            (duration(1.234), "1.23 ms"),
            (duration(12.54), "12.5 ms"),
            (duration(512.4), "512 ms"),
            (duration(999.9), "1.00 s"),
            (duration(3_210.0), "3.21 s"),
            (duration(250_000.0), "4 min 10 s"),
            (duration(300_000.0), "5 min"),
            (duration(7_500_000.0), "2 h 5 min"),
            (bytes(512.0), "512 B"),
            (bytes(4.2 * 1024.0 * 1024.0), "4.20 MiB"),
            (amount(0.978, Unit::Ratio), "97.8 %"),
            (amount(1.0, Unit::Ratio), "100 %"),
            (amount(0.0, Unit::Ratio), "0 %"),
            (amount(0.99998, Unit::Ratio), "99.998 %"),
            (amount(0.000_02, Unit::Ratio), "0.002 %"),
            (amount(0.999_999_999, Unit::Ratio), "> 99.9999 %"),
            (amount(1204.0, Unit::Count), "1,204"),
            (amount(1204.4, Unit::Count), "1,204"),
            (amount(-4.24159, Unit::Count), "-4.24"),
            (times(5.525), "5.53 ×"),
            (times(0.0), "0 ×"),
        ] {
            assert_eq!(text, expected);
        }
    }
}
