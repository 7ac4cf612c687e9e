//! Numbers as people read them.

/// Four significant digits: `0.02518`, `6.78`, `12,345`, `3.2·10⁻⁵`; a dash where it is not finite.
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return "–".into();
    }
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-3..1e7).contains(&magnitude) {
        return scientific(value, 3);
    }
    let digits = if magnitude == 0.0 { 0 } else { 3 - magnitude.log10().floor() as i32 };
    let text = format!("{value:.*}", digits.clamp(0, 6) as usize);
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    grouped(text)
}

/// A fraction in percent, with two decimals.
pub fn percent(fraction: f64) -> String {
    if fraction.is_finite() { format!("{:.2} %", 100.0 * fraction) } else { "–".into() }
}

/// A number of seconds, to the unit that matters: `0.42 s`, `3 min 20 s`, `5 h 7 min`, `2 d 3 h`.
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "–".into();
    }
    let whole = seconds.round() as u64;
    match whole {
        0..10 => format!("{seconds:.2} s"),
        10..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        3600..86400 => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{} d {} h", whole / 86400, whole % 86400 / 3600),
    }
}

/// `value` in `digits` significant digits and a power of ten.
pub fn scientific(value: f64, digits: usize) -> String {
    let text = format!("{value:.*e}", digits.saturating_sub(1));
    let Some((mantissa, exponent)) = text.split_once('e') else { return text };
    let mantissa = if mantissa.contains('.') { mantissa.trim_end_matches('0').trim_end_matches('.') } else { mantissa };
    let power = format!("10{}", superscript(exponent));
    match mantissa {
        "1" => power,
        "-1" => format!("−{power}"),
        _ => format!("{}·{power}", mantissa.replace('-', "−")),
    }
}

fn superscript(digits: &str) -> String {
    let raised = |digit| match digit {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        '0' | '4'..='9' => char::from_u32('⁰' as u32 + digit as u32 - '0' as u32).unwrap_or(digit),
        other => other,
    };
    digits.chars().map(raised).collect()
}

/// A number's text with commas between thousands and a true minus sign.
pub fn grouped(text: &str) -> String {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("−", digits));
    let (whole, fraction) = digits.find('.').map_or((digits, ""), |point| digits.split_at(point));
    let mut grouped = String::from(sign);
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_digits_that_say_something() {
        let cases = [
            (0.0, "0"),
            (0.025_177_8, "0.02518"),
            (6.78, "6.78"),
            (-1.5, "−1.5"),
            (123.456, "123.5"),
            (12_345.6, "12,346"),
            (3.2e-5, "3.2·10⁻⁵"),
            (1e-10, "10⁻¹⁰"),
            (-4.56e12, "−4.56·10¹²"),
            (f64::NAN, "–"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn durations_have_two_units() {
        let cases = [
            (0.417, "0.42 s"),
            (59.44, "59.4 s"),
            (200.4, "3 min 20 s"),
            (18_432.0, "5 h 7 min"),
            (183_700.0, "2 d 3 h"),
        ];
        for (seconds, text) in cases {
            assert_eq!(duration(seconds), text);
        }
        assert_eq!(percent(0.067_754), "6.78 %");
    }
}
