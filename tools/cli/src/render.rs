//! Records as text for people. Whatever strangers wrote is shown without the characters a terminal would obey.

use std::io::IsTerminal as _;

use chrono::{DateTime, Utc};
use comfy_table::{ContentArrangement, Table, presets};
use domain::money::MicroUsdc;
use serde_json::Value;

/// The longest cell of a table on a terminal.
const LONGEST_CELL: usize = 60;
/// And where a program or a file takes the text.
const LONGEST_PIPED_CELL: usize = 2000;

/// How a value is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum As {
    /// As it is.
    Text,
    /// Millionths as a decimal number.
    Money,
    /// Thousandths as a fraction of one.
    Permille,
    /// A time to the second.
    Time,
    /// How long ago a time was.
    Age,
}

/// A column: its title, the key of its values, how they are shown.
pub(crate) type Column = (&'static str, &'static str, As);

/// Rows as a table; a sentence when there are none.
pub(crate) fn table(rows: &Value, columns: &[Column]) -> String {
    let rows = rows.as_array().map_or(&[][..], Vec::as_slice);
    if rows.is_empty() {
        return "none".to_owned();
    }
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(columns.iter().map(|(title, _, _)| *title));
    for row in rows {
        table.add_row(columns.iter().map(|(_, key, how)| shorten(&shown(&row[*key], *how))));
    }
    table.trim_fmt()
}

/// A listing: its table, and how to see more.
pub(crate) fn listing(value: &Value, key: &str, columns: &[Column]) -> String {
    let mut text = table(&value[key], columns);
    if let Some(next) = value["next"].as_str().filter(|next| !next.is_empty()) {
        text.push_str(&format!("\n\nmore: --cursor {next}"));
    }
    text
}

/// One record, a line per field.
pub(crate) fn fields(value: &Value, columns: &[Column]) -> String {
    let width = columns.iter().map(|(title, _, _)| title.len()).max().unwrap_or(0);
    let lines = columns.iter().filter_map(|(title, key, how)| {
        let text = shown(&value[*key], *how);
        (!text.is_empty()).then(|| format!("{title:width$}  {text}"))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A part of a longer text under its title; nothing when it has no rows.
pub(crate) fn section(title: &str, rows: &Value, columns: &[Column]) -> String {
    if rows.as_array().is_none_or(Vec::is_empty) {
        return String::new();
    }
    format!("\n\n{title}\n{}", table(rows, columns))
}

/// One value as text.
pub(crate) fn shown(value: &Value, how: As) -> String {
    match (how, value) {
        (_, Value::Null) => String::new(),
        (As::Money, value) => value.as_i64().map_or_else(String::new, money),
        (As::Permille, value) => value.as_u64().map_or_else(String::new, fraction),
        (As::Age, Value::String(text)) => age(text, Utc::now()),
        (As::Time, Value::String(text)) => text.get(..19).unwrap_or(text).replace('T', " "),
        (_, Value::String(text)) => plain(text),
        (_, Value::Bool(true)) => "yes".to_owned(),
        (_, Value::Bool(false)) => "no".to_owned(),
        (_, Value::Object(parts)) => {
            let part = |(name, value): (&String, &Value)| format!("{} {}", plain(name), shown(value, how));
            parts.iter().map(part).collect::<Vec<_>>().join(", ")
        }
        (_, other) => other.to_string(),
    }
}

/// Thousandths as a fraction: 950 is 0.95.
fn fraction(permille: u64) -> String {
    let digits = format!("{:03}", permille % 1000);
    let digits = digits.trim_end_matches('0');
    format!("{}.{digits:0<2}", permille / 1000)
}

/// How long before `now` a time was, in its largest unit; nothing when it is none.
fn age(text: &str, now: DateTime<Utc>) -> String {
    let Ok(then) = DateTime::parse_from_rfc3339(text) else {
        return String::new();
    };
    let passed = now.signed_duration_since(then);
    match (passed.num_days(), passed.num_hours(), passed.num_minutes()) {
        (2.., _, _) => format!("{} days", passed.num_days()),
        (_, 2.., _) => format!("{} hours", passed.num_hours()),
        (_, _, 1..) => format!("{} min", passed.num_minutes()),
        _ => format!("{} s", passed.num_seconds().max(0)),
    }
}

/// Millionths as a decimal number.
pub(crate) fn money(micro: i64) -> String {
    MicroUsdc(micro).to_string()
}

/// Text without control characters: no escape sequence, no new line, no hidden direction.
pub(crate) fn plain(text: &str) -> String {
    let hidden =
        |letter: char| matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let visible = |letter: char| match letter {
        '\n' | '\t' => ' ',
        letter if letter.is_control() || hidden(letter) => '\u{fffd}',
        letter => letter,
    };
    text.chars().map(visible).collect()
}

/// As [`plain`], with its line breaks.
pub(crate) fn paragraphs(text: &str) -> String {
    text.lines().map(plain).collect::<Vec<_>>().join("\n")
}

fn shorten(text: &str) -> String {
    let longest = if std::io::stdout().is_terminal() {
        LONGEST_CELL
    } else {
        LONGEST_PIPED_CELL
    };
    match text.char_indices().nth(longest) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_title_cannot_command_the_terminal() {
        let rows = json!([{ "title": "nice\u{1b}[2Jgig\n\u{202e}txt", "amount": 12_500_000 }]);
        let text = table(&rows, &[("Title", "title", As::Text), ("Amount", "amount", As::Money)]);
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text:?}");
        assert!(text.contains("12.50"), "{text}");
    }

    #[test]
    fn a_score_is_a_fraction_of_one() {
        for (permille, text) in [(950, "0.95"), (0, "0.00"), (1000, "1.00"), (905, "0.905"), (7, "0.007")] {
            assert_eq!(shown(&json!(permille), As::Permille), text);
        }
    }

    #[test]
    fn an_age_is_told_in_the_largest_unit_that_says_something() {
        let now = DateTime::parse_from_rfc3339("2026-01-10T12:00:00Z").unwrap().to_utc();
        for (then, text) in [
            ("2026-01-10T11:59:18.000Z", "42 s"),
            ("2026-01-10T11:00:00.000Z", "60 min"),
            ("2026-01-10T01:00:00.000Z", "11 hours"),
            ("2026-01-07T12:00:00.000Z", "3 days"),
            ("2026-01-10T12:00:09.000Z", "0 s"),
            ("never", ""),
        ] {
            assert_eq!(age(then, now), text, "{then}");
        }
    }

    #[test]
    fn parts_are_named() {
        assert_eq!(
            shown(&json!({ "deliver": 3, "search": 2 }), As::Text),
            "deliver 3, search 2"
        );
    }

    #[test]
    fn nothing_is_said_to_be_nothing() {
        assert_eq!(table(&json!([]), &[("A", "a", As::Text)]), "none");
    }
}
