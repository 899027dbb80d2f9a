//! Time strings as in Taylor, HDB and V2: `Any`, `Wk2305-0755,Sa,Su`, `Never`.

use jiff::ToSpan;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use nom::branch::alt;
use nom::bytes::complete::tag_no_case;
use nom::character::complete::{char, one_of, satisfy};
use nom::combinator::{all_consuming, opt, recognize, value};
use nom::multi::{count, many1, separated_list1};
use nom::sequence::separated_pair;
use nom::{IResult, Parser};

use crate::base::time::Timestamp;

/// Why a word is no time string.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no time: write Any, Never, Wk, days such as MoWeFr, with hours such as 2300-0700, joined by commas")]
pub struct BadTime(String);

/// A time zone by name, or the system's.
#[derive(Debug, Clone)]
pub struct Zone(TimeZone);

impl Zone {
    pub fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    pub fn system() -> Self {
        Self(TimeZone::system())
    }

    /// `Europe/Berlin`.
    pub fn named(name: &str) -> Option<Self> {
        TimeZone::get(name).ok().map(Self)
    }
}

/// A set of times of the week.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeString {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    /// Monday is bit 0.
    days: u8,
    /// Minutes of the day: from, to. Past midnight the hours belong to the same named days, as in Taylor.
    hours: Option<(u16, u16)>,
}

const EVERY_DAY: u8 = 0x7f;
const WORKING_DAYS: u8 = 0x1f;

impl TimeString {
    pub fn parse(text: &str) -> Result<Self, BadTime> {
        let named = match text.to_ascii_lowercase().as_str() {
            "evening" => "Wk1705-0755,Sa,Su",
            "night" => "Wk2305-0755,Sa,Su2305-1655",
            "nonpeak" => "Wk1805-0655,Sa,Su",
            _ => text,
        };
        match all_consuming(separated_list1(one_of(",|"), part)).parse(named) {
            Ok((_, parts)) => Ok(Self { parts }),
            Err(_) => Err(BadTime(text.chars().take(60).collect())),
        }
    }

    pub fn contains(&self, now: Timestamp, zone: &Zone) -> bool {
        let local = zone.0.to_datetime(now.to_jiff());
        let minute = local.hour() as u16 * 60 + local.minute() as u16;
        self.parts.iter().any(|p| p.has_day(local.date().weekday()) && p.has_minute(minute))
    }

    /// Whether it holds at any time, as `Any` does.
    pub fn is_always(&self) -> bool {
        self.parts.iter().any(|p| p.days == EVERY_DAY && p.hours.is_none())
    }

    /// When it next begins to hold, if it does within eight days. Only asked while it does not hold.
    pub fn next_start(&self, now: Timestamp, zone: &Zone) -> Option<Timestamp> {
        let today = zone.0.to_datetime(now.to_jiff()).date();
        let starts = (0..=8).filter_map(|n| today.checked_add(i64::from(n).days()).ok()).flat_map(|date| {
            let parts = self.parts.iter().filter(move |p| p.has_day(date.weekday()));
            parts.flat_map(Part::starts).filter_map(move |minute| {
                let at = date.at((minute / 60) as i8, (minute % 60) as i8, 0, 0);
                zone.0.to_ambiguous_zoned_datetime(at).compatible().ok()
            })
        });
        starts.map(|z| Timestamp::from_jiff(z.timestamp())).filter(|t| *t > now).min()
    }
}

impl Part {
    fn has_day(&self, day: Weekday) -> bool {
        self.days & (1 << day.to_monday_zero_offset()) != 0
    }

    fn has_minute(&self, minute: u16) -> bool {
        match self.hours {
            None => true,
            Some((from, to)) if from == to => true,
            Some((from, to)) if from < to => (from..to).contains(&minute),
            Some((from, to)) => minute >= from || minute < to,
        }
    }

    /// The minutes of a day at which it begins to hold.
    fn starts(&self) -> impl Iterator<Item = u16> {
        let (first, second) = match self.hours {
            Some((from, to)) if from < to => (Some(from), None),
            Some((from, to)) if from > to => (Some(0), Some(from)),
            Some(_) | None => (Some(0), None),
        };
        first.into_iter().chain(second)
    }
}

fn part(input: &str) -> IResult<&str, Part> {
    let (input, days) = days(input)?;
    let (input, hours) = opt(separated_pair(clock, char('-'), clock)).parse(input)?;
    Ok((input, Part { days, hours }))
}

fn days(input: &str) -> IResult<&str, u8> {
    let day = alt((
        value(EVERY_DAY, tag_no_case("any")),
        value(0, alt((tag_no_case("never"), tag_no_case("none")))),
        value(WORKING_DAYS, tag_no_case("wk")),
        value(1, tag_no_case("mo")),
        value(2, tag_no_case("tu")),
        value(4, tag_no_case("we")),
        value(8, tag_no_case("th")),
        value(16, tag_no_case("fr")),
        value(32, tag_no_case("sa")),
        value(64, tag_no_case("su")),
    ));
    let (input, days) = many1(day).parse(input)?;
    Ok((input, days.into_iter().fold(0, |all, day| all | day)))
}

/// `0755`, as minutes of the day.
fn clock(input: &str) -> IResult<&str, u16> {
    let (rest, digits) = recognize(count(satisfy(|c| c.is_ascii_digit()), 4)).parse(input)?;
    let number: u16 = digits.parse().unwrap_or(u16::MAX);
    let (hour, minute) = (number / 100, number % 100);
    if hour > 24 || minute > 59 || number > 2400 {
        return Err(nom::Err::Error(nom::error::Error::new(input, nom::error::ErrorKind::Verify)));
    }
    Ok((rest, (hour * 60 + minute) % 1440))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A time in November 2026 (the 23rd is a Monday), UTC.
    fn time(day: i8, hour: i8, minute: i8) -> Timestamp {
        let at = jiff::civil::date(2026, 11, day).at(hour, minute, 0, 0);
        Timestamp::from_jiff(TimeZone::UTC.to_ambiguous_zoned_datetime(at).compatible().expect("a time").timestamp())
    }

    fn check(text: &str, at: (i8, i8, i8), expected: bool, next: Option<(i8, i8, i8)>) {
        let string = TimeString::parse(text).expect(text);
        let now = time(at.0, at.1, at.2);
        assert_eq!(string.contains(now, &Zone::utc()), expected, "{text} at {at:?}");
        if !expected {
            assert_eq!(
                string.next_start(now, &Zone::utc()),
                next.map(|(d, h, m)| time(d, h, m)),
                "{text} after {at:?}"
            );
        }
    }

    #[test]
    fn times_of_the_week() {
        check("Any", (23, 0, 0), true, None);
        check("Never", (23, 0, 0), false, None);
        check("Wk", (28, 12, 0), false, Some((30, 0, 0)));
        check("Wk0200-0600", (23, 6, 0), false, Some((24, 2, 0)));
        check("Wk0200-0600", (23, 5, 59), true, None);
        check("MoWeFr2200-2300,Su", (24, 1, 0), false, Some((25, 22, 0)));
        // Past midnight the hours are those of the same day: Friday's early morning, not Saturday's.
        check("Fr2300-0700", (27, 6, 0), true, None);
        assert!(!TimeString::parse("Fr2300-0700").expect("a time").contains(time(28, 6, 0), &Zone::utc()));
        check("Night", (29, 20, 0), false, Some((29, 23, 5)));
        check("any0000-2400", (23, 23, 59), true, None);
    }

    #[test]
    fn a_window_has_the_zone_of_its_site() {
        let berlin = Zone::named("Europe/Berlin").expect("a zone");
        let string = TimeString::parse("Any0100-0200").expect("a time");
        assert!(string.contains(time(23, 0, 30), &berlin));
        assert!(!string.contains(time(23, 0, 30), &Zone::utc()));
        assert_eq!(string.next_start(time(23, 1, 30), &berlin), Some(time(24, 0, 0)));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "Sometimes", "Mo25", "Mo2500-2600", "Any,", "Any0200", "Any0260-0300", "AnyX"] {
            assert!(TimeString::parse(text).is_err(), "{text}");
        }
    }
}
