//! When a toxic is on: `every 10s for 2s`, `after 1m for 30s`. Pure; the clock is its owner's.

use std::time::Duration;

/// Longest span in a schedule.
const MAX_SPAN: Duration = Duration::from_secs(30 * 86_400);
/// Shortest; a toxic that comes and goes faster would only keep the proxy busy.
const MIN_SPAN: Duration = Duration::from_millis(10);

/// Windows of time in which a toxic is on, counted from when it was added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    text: String,
    after: Duration,
    every: Option<Duration>,
    lasts: Duration,
}

impl Schedule {
    /// Reads `[after SPAN] [every SPAN] for SPAN`, where a span is a number with `ms`, `s`, `m` or `h`.
    ///
    /// # Errors
    /// Says what is wrong, in words for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut after, mut every, mut lasts) = (None, None, None);
        let mut words = text.split_whitespace();
        while let Some(word) = words.next() {
            let slot = match word {
                "after" => &mut after,
                "every" => &mut every,
                "for" => &mut lasts,
                other => return Err(format!("schedule {text:?}: {other:?} is none of after, every, for")),
            };
            let value =
                words.next().ok_or_else(|| format!("schedule {text:?}: {word} needs a time, as in {word} 10s"))?;
            let span = span(value)
                .ok_or_else(|| format!("schedule {text:?}: {value:?} is no time such as 500ms, 10s or 5m"))?;
            if slot.replace(span).is_some() {
                return Err(format!("schedule {text:?}: {word} stands there twice"));
            }
        }
        let lasts = lasts.ok_or_else(|| format!("schedule {text:?} does not say how long: for 2s, for example"))?;
        if lasts < MIN_SPAN || every.is_some_and(|every| every < lasts.saturating_add(MIN_SPAN)) {
            return Err(format!(
                "schedule {text:?}: a window lasts at least {MIN_SPAN:?}, and ends at least {MIN_SPAN:?} before the next begins"
            ));
        }
        Ok(Self { text: text.to_owned(), after: after.unwrap_or_default(), every, lasts })
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is on, so long after it began, and in how long that changes; `None`: never again.
    #[must_use]
    pub fn at(&self, elapsed: Duration) -> (bool, Option<Duration>) {
        let Some(since) = elapsed.checked_sub(self.after) else { return (false, Some(self.after - elapsed)) };
        let Some(every) = self.every else {
            return if since < self.lasts { (true, Some(self.lasts - since)) } else { (false, None) };
        };
        let nanos = since.as_nanos() % every.as_nanos();
        let phase = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        if phase < self.lasts { (true, Some(self.lasts - phase)) } else { (false, Some(every - phase)) }
    }
}

/// `500ms`, `2s`, `1.5m`, `1h`.
fn span(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let number: f64 = text[..digits].parse().ok()?;
    let seconds = match &text[digits..] {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number * seconds).ok().filter(|span| *span <= MAX_SPAN)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn windows_come_and_go() {
        let every = Schedule::parse("every 10s for 2s").unwrap();
        let once = Schedule::parse("after 1s for 500ms").unwrap();
        let both = Schedule::parse("for 1s every 4s after 2s").unwrap();
        let cases = [
            (&every, 0, true, Some(2_000)),
            (&every, 1_999, true, Some(1)),
            (&every, 2_000, false, Some(8_000)),
            (&every, 31_000, true, Some(1_000)),
            (&once, 0, false, Some(1_000)),
            (&once, 1_200, true, Some(300)),
            (&once, 1_500, false, None),
            (&both, 1_000, false, Some(1_000)),
            (&both, 2_000, true, Some(1_000)),
            (&both, 7_500, false, Some(2_500)),
        ];
        for (schedule, at, on, then) in cases {
            assert_eq!(schedule.at(ms(at)), (on, then.map(ms)), "{} at {at}", schedule.as_str());
        }
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for text in [
            "",
            "every 10s",
            "for",
            "for 2",
            "for -2s",
            "for 2s for 3s",
            "every 2s for 2s",
            "for 1ms",
            "at 2s",
            "for 99999h",
            "for .s",
        ] {
            assert!(Schedule::parse(text).unwrap_err().contains("schedule"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in "\\PC{0,40}|(after|every|for|[0-9.]{1,4}(ms|s|m|h|x)| ){0,8}") {
            if let Ok(schedule) = Schedule::parse(&text) {
                prop_assert!(schedule.at(Duration::MAX).1 != Some(Duration::ZERO));
            }
        }

        #[test]
        fn what_it_foretells_comes_true(elapsed in 0_u64..100_000, text in "(after [1-9]s )?(every 1[0-9]s )?for [1-9]s") {
            let schedule = Schedule::parse(&text).unwrap();
            let (on, change) = schedule.at(ms(elapsed));
            if let Some(change) = change {
                prop_assert_eq!(schedule.at(ms(elapsed) + change - Duration::from_nanos(1)).0, on);
                prop_assert_eq!(schedule.at(ms(elapsed) + change).0, !on);
            }
        }
    }
}
