//! What a fault does: to a process, to a disk or a clock, or to what lies between two of them.

use std::time::Duration;

use serde_json::{Map, Value, json};
use squall_faultproxy::{Attributes, Direction, Schedule, ToxicSpec};

use crate::scenario::{MOST_GATEWAYS, ScenarioError, Section, show_span};

/// What is done.
#[derive(Clone, Debug, PartialEq)]
pub enum Deed {
    /// A signal, and what follows from it.
    Process(ProcessFault, Subject),
    /// The disk of an own gateway is filled until so many bytes are left.
    FillDisk(Whom, u64),
    /// The wall clock of an own gateway is another one's, by so many milliseconds.
    Clock(Whom, i64),
    /// Toxics in fault proxies.
    Toxic(Links, Vec<Toxic>),
    /// Fault proxies that nobody gets through.
    Down(Links),
}

/// What is done to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessFault {
    /// SIGKILL; started again where it was when the fault ends.
    Kill,
    /// SIGSTOP; SIGCONT when the fault ends.
    Stop,
    /// SIGTERM, and started again as soon as it has gone.
    Restart,
    /// SIGTERM: it may drain; started again when the fault ends, and not before it has gone.
    Drain,
}

/// To which process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// An own gateway, or all of them.
    Gateway(Whom),
    /// The `[[process]]` or the service of this name.
    Process(String),
}

/// To which of the own gateways something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// To the one with this number, from 1.
    One(u32),
    /// To all of them, in one moment.
    All,
}

/// Between whom a fault proxy lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// Own gateways and their Redis.
    Redis,
    /// Own gateways and the PostgreSQL of their archive.
    Postgres,
    /// The storm's clients and the own gateways, but for workers and subscribers if those are named.
    Clients,
    /// The storm's workers and the own gateways.
    Workers,
    /// The storm's subscribers and the own gateways.
    Subscribers,
    /// A `[[proxy]]` of the scenario.
    Named(String),
}

/// Some fault proxies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Links {
    /// Which; not empty.
    pub links: Vec<Link>,
    /// Of whose gateway; those of a `[[proxy]]` are nobody's.
    pub whom: Whom,
}

/// A toxic as a scenario says it: in the words of a fault proxy's API.
#[derive(Clone, Debug, PartialEq)]
pub struct Toxic {
    /// What it does.
    pub attributes: Attributes,
    /// On which ways.
    pub directions: Vec<Direction>,
    /// The share of connections that it strikes.
    pub toxicity: f32,
    /// When it is on, counted from the begin of the fault.
    pub schedule: Option<Schedule>,
    /// As it was written.
    written: Value,
}

/// What is done to one own gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatewayFault {
    /// A signal, and what follows from it.
    Process(ProcessFault),
    /// See [`Deed::FillDisk`].
    FillDisk(u64),
    /// See [`Deed::Clock`].
    Clock(i64),
}

const KINDS: [(&str, Kind); 8] = [
    ("kill", Kind::Process(ProcessFault::Kill)),
    ("stop", Kind::Process(ProcessFault::Stop)),
    ("restart", Kind::Process(ProcessFault::Restart)),
    ("drain", Kind::Process(ProcessFault::Drain)),
    ("toxic", Kind::Toxic),
    ("down", Kind::Down),
    ("fill_disk", Kind::FillDisk),
    ("clock", Kind::Clock),
];

#[derive(Clone, Copy)]
enum Kind {
    Process(ProcessFault),
    FillDisk,
    Clock,
    Toxic,
    Down,
}

/// Left on a disk that is filled, if nothing else is said.
const LEAVE_BYTES: u64 = 0;
/// A day: clocks that are further apart are another matter.
const FARTHEST: Duration = Duration::from_secs(86_400);

impl Deed {
    pub(super) fn read(section: &mut Section<'_>) -> Result<Self, ScenarioError> {
        let word = section.text("kind")?.ok_or_else(|| section.error("`kind` is missing"))?;
        Ok(match section.choice("fault", &word, &KINDS)? {
            Kind::Process(fault) => Self::Process(fault, Subject::read(section)?),
            Kind::FillDisk => {
                let left = section.whole("leave_bytes", 0, 1 << 40)?.unwrap_or(LEAVE_BYTES);
                Self::FillDisk(Whom::read(section)?.unwrap_or(Whom::One(1)), left)
            }
            Kind::Clock => {
                let text =
                    section.text("shift")?.ok_or_else(|| section.error("`shift` is missing: \"1h\", \"-5m\""))?;
                let shift_ms = shift_ms(&text.value).ok_or_else(|| {
                    let message = format!(
                        "`shift` must be a length of time up to 24h, such as \"1h\" or \"-5m\", not {:?}",
                        text.value
                    );
                    section.error_at(text.at, message)
                })?;
                Self::Clock(Whom::read(section)?.unwrap_or(Whom::One(1)), shift_ms)
            }
            Kind::Toxic => Self::Toxic(Links::read(section)?, Toxic::read_all(section)?),
            Kind::Down => Self::Down(Links::read(section)?),
        })
    }

    /// The word in scenarios and reports.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Process(fault, _) => fault.as_str(),
            Self::FillDisk(..) => "fill_disk",
            Self::Clock(..) => "clock",
            Self::Toxic(..) => "toxic",
            Self::Down(_) => "down",
        }
    }

    /// Whether it is over when it is done, and not when somebody takes it back.
    pub(crate) const fn ends_by_itself(&self) -> bool {
        matches!(self, Self::Process(ProcessFault::Restart, _))
    }

    /// The gateways that it is about, if it is about gateways.
    pub(crate) const fn gateways(&self) -> Option<Whom> {
        match self {
            Self::Process(_, Subject::Gateway(whom)) | Self::FillDisk(whom, _) | Self::Clock(whom, _) => Some(*whom),
            Self::Toxic(links, _) | Self::Down(links) => Some(links.whom),
            Self::Process(_, Subject::Process(_)) => None,
        }
    }

    /// What is done to own gateways themselves, and to which.
    pub(crate) const fn to_gateways(&self) -> Option<(Whom, GatewayFault)> {
        match self {
            Self::Process(fault, Subject::Gateway(whom)) => Some((*whom, GatewayFault::Process(*fault))),
            Self::FillDisk(whom, left) => Some((*whom, GatewayFault::FillDisk(*left))),
            Self::Clock(whom, shift_ms) => Some((*whom, GatewayFault::Clock(*shift_ms))),
            Self::Process(..) | Self::Toxic(..) | Self::Down(_) => None,
        }
    }

    /// The fault proxies that it needs.
    pub(crate) fn links(&self) -> &[Link] {
        match self {
            Self::Toxic(links, _) | Self::Down(links) => &links.links,
            _ => &[],
        }
    }

    /// Whether it can only be done to what the storm has started.
    pub(crate) fn needs_own_gateway(&self) -> bool {
        self.to_gateways().is_some() || self.links().iter().any(|link| !matches!(link, Link::Named(_)))
    }

    /// In words; `lasts` says how long.
    pub(super) fn describe(&self, gateways: u32, lasts: &str) -> String {
        match self {
            Self::Process(fault, subject) => {
                let whom = match subject {
                    Subject::Gateway(whom) => whom.describe(gateways),
                    Subject::Process(name) => name.clone(),
                };
                match fault {
                    ProcessFault::Kill => format!("SIGKILL of {whom}, started again after {lasts}"),
                    ProcessFault::Stop => format!("SIGSTOP of {whom}, SIGCONT after {lasts}"),
                    ProcessFault::Restart => format!("restart of {whom}"),
                    ProcessFault::Drain => format!("SIGTERM of {whom}, started again after {lasts}"),
                }
            }
            Self::FillDisk(whom, 0) => format!("the disk of {} is full for {lasts}", whom.describe(gateways)),
            Self::FillDisk(whom, left) => {
                format!("the disk of {} has {left} bytes left for {lasts}", whom.describe(gateways))
            }
            Self::Clock(whom, shift_ms) => {
                let by = show_span(Duration::from_millis(shift_ms.unsigned_abs()));
                let way = if *shift_ms < 0 { "slow" } else { "fast" };
                format!("the clock of {} is {by} {way} for {lasts}", whom.describe(gateways))
            }
            Self::Toxic(links, toxics) => {
                let toxics: Vec<_> = toxics.iter().map(Toxic::describe).collect();
                format!("{} {} for {lasts}", toxics.join(" and "), links.describe(gateways))
            }
            Self::Down(links) => format!("no way through {} for {lasts}", links.describe(gateways)),
        }
    }

    /// As a scenario says it.
    pub(super) fn fields(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        fields.insert("kind".to_owned(), self.kind().into());
        match self {
            Self::Process(_, Subject::Process(name)) => drop(fields.insert("process".to_owned(), name.as_str().into())),
            Self::Process(_, Subject::Gateway(_)) => {}
            Self::FillDisk(_, left) => drop(fields.insert("leave_bytes".to_owned(), (*left).into())),
            Self::Clock(_, shift_ms) => {
                let minus = if *shift_ms < 0 { "-" } else { "" };
                let shift = show_span(Duration::from_millis(shift_ms.unsigned_abs()));
                fields.insert("shift".to_owned(), format!("{minus}{shift}").into());
            }
            Self::Toxic(links, toxics) => {
                fields.insert("proxy".to_owned(), links.names().into());
                fields.insert("toxic".to_owned(), toxics.iter().map(|toxic| toxic.written.clone()).collect());
            }
            Self::Down(links) => drop(fields.insert("proxy".to_owned(), links.names().into())),
        }
        match self.gateways() {
            Some(Whom::One(number)) => drop(fields.insert("gateway".to_owned(), number.into())),
            Some(Whom::All) => drop(fields.insert("gateway".to_owned(), ALL.into())),
            None => {}
        }
        fields
    }
}

impl ProcessFault {
    /// The word in scenarios and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Drain => "drain",
        }
    }
}

impl GatewayFault {
    /// Whether the process is gone while it lasts.
    pub(crate) const fn takes_down(self) -> bool {
        matches!(self, Self::Process(ProcessFault::Kill | ProcessFault::Restart | ProcessFault::Drain))
    }
}

impl Subject {
    fn read(section: &mut Section<'_>) -> Result<Self, ScenarioError> {
        let whom = Whom::read(section)?;
        match (section.text("process")?, whom) {
            (Some(process), None) => Ok(Self::Process(process.value)),
            (Some(process), Some(_)) => {
                Err(section.error_at(process.at, "it is done to a `gateway` or to a `process`, not to both"))
            }
            (None, whom) => Ok(Self::Gateway(whom.unwrap_or(Whom::One(1)))),
        }
    }
}

const ALL: &str = "all";

impl Whom {
    fn read(section: &mut Section<'_>) -> Result<Option<Self>, ScenarioError> {
        let whom = section.whole_or("gateway", 1, MOST_GATEWAYS.into(), ALL)?;
        Ok(whom.map(|number| number.map_or(Self::All, |number| Self::One(number as u32))))
    }

    /// Whether the gateway with this index, from 0, is meant.
    pub(crate) const fn means(self, index: usize) -> bool {
        match self {
            Self::One(number) => number as usize == index + 1,
            Self::All => true,
        }
    }

    /// Whether it means one that there is not.
    pub(super) const fn beyond(self, gateways: u32) -> bool {
        matches!(self, Self::One(number) if number > gateways)
    }

    fn describe(self, gateways: u32) -> String {
        match (gateways, self) {
            (1, _) => "the own gateway".to_owned(),
            (_, Self::One(number)) => format!("gateway {number}"),
            (_, Self::All) => "all gateways".to_owned(),
        }
    }
}

impl Link {
    /// Those that need no `[[proxy]]`.
    pub(crate) const KNOWN: [(&str, Self); 5] = [
        ("redis", Self::Redis),
        ("postgres", Self::Postgres),
        ("clients", Self::Clients),
        ("workers", Self::Workers),
        ("subscribers", Self::Subscribers),
    ];

    fn of(name: &str) -> Self {
        let known = Self::KNOWN.into_iter().find(|(known, _)| *known == name);
        known.map_or_else(|| Self::Named(name.to_owned()), |(_, link)| link)
    }

    /// The word in scenarios.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Named(name) => name,
            known => Self::KNOWN.iter().find(|(_, link)| link == known).map_or("", |(name, _)| name),
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Redis => "between gateway and Redis".to_owned(),
            Self::Postgres => "between gateway and PostgreSQL".to_owned(),
            Self::Clients => "between clients and gateway".to_owned(),
            Self::Workers => "between workers and gateway".to_owned(),
            Self::Subscribers => "between subscribers and gateway".to_owned(),
            Self::Named(name) => format!("in the proxy {name:?}"),
        }
    }
}

impl Links {
    fn read(section: &mut Section<'_>) -> Result<Self, ScenarioError> {
        let names = section.words("proxy")?.unwrap_or_default();
        if names.is_empty() {
            return Err(
                section.error("`proxy` is missing: redis, postgres, clients, workers, subscribers or a [[proxy]]")
            );
        }
        let links = names.iter().map(|name| Link::of(&name.value)).collect();
        Ok(Self { links, whom: Whom::read(section)?.unwrap_or(Whom::All) })
    }

    fn names(&self) -> Vec<&str> {
        self.links.iter().map(Link::as_str).collect()
    }

    fn describe(&self, gateways: u32) -> String {
        let links: Vec<_> = self.links.iter().map(Link::describe).collect();
        let links = links.join(" and ");
        match self.whom {
            Whom::One(_) if gateways > 1 => format!("{links}, of {}", self.whom.describe(gateways)),
            _ => links,
        }
    }
}

impl Toxic {
    /// `toxic`: a table in the words of a fault proxy's API, or a list of them. `stream` may be `both`.
    fn read_all(section: &mut Section<'_>) -> Result<Vec<Self>, ScenarioError> {
        let (place, value) =
            section.json("toxic")?.ok_or_else(|| section.error("`toxic` is missing: { type = \"latency\", … }"))?;
        let tables = match value {
            Value::Array(tables) => tables,
            one => vec![one],
        };
        if tables.is_empty() {
            return Err(section.error_at(place, "`toxic` must name at least one"));
        }
        let wrong = |why: String| section.error_at(place, format!("`toxic`: {why}"));
        tables.into_iter().map(|table| Self::read(table).map_err(&wrong)).collect()
    }

    fn read(written: Value) -> Result<Self, String> {
        const BOTH: &str = "both";
        let mut table = written.clone();
        let both = table["stream"] == BOTH;
        if both && let Some(table) = table.as_object_mut() {
            table.remove("stream");
        }
        let spec = squall_faultproxy::config::toxic(&table)?;
        let directions = if both { Direction::ALL.to_vec() } else { vec![spec.direction] };
        Ok(Self { attributes: spec.attributes, directions, toxicity: spec.toxicity, schedule: spec.schedule, written })
    }

    /// As fault proxies take it: one for each direction. `name` is what none other is called.
    pub(crate) fn specs(&self, name: &str) -> Vec<ToxicSpec> {
        let spec = |&direction: &Direction| {
            let mut spec = ToxicSpec::new(direction, self.attributes.clone());
            spec.name = format!("{name}-{}", direction.as_str());
            spec.toxicity = self.toxicity;
            spec.schedule = self.schedule.clone();
            spec
        };
        self.directions.iter().map(spec).collect()
    }

    fn describe(&self) -> String {
        let mut text = self.attributes.type_name().to_owned();
        let attributes = self.written["attributes"].as_object().into_iter().flatten();
        let attributes: Vec<_> = attributes.map(|(name, value)| format!("{name} {value}")).collect();
        if !attributes.is_empty() {
            text += &format!(" ({})", attributes.join(", "));
        }
        if self.toxicity < 1.0 {
            text += &format!(" on {} % of the connections", json!(self.toxicity * 100.0));
        }
        if let Some(schedule) = self.written["schedule"].as_str() {
            text += &format!(", {schedule},");
        }
        text
    }
}

/// `"1h"`, `"-5m"`; at most a day.
fn shift_ms(text: &str) -> Option<i64> {
    let (sign, span) = text.strip_prefix('-').map_or((1, text), |span| (-1, span));
    let span = crate::scenario::parse_span(span).filter(|span| *span <= FARTHEST)?;
    i64::try_from(span.as_millis()).ok().map(|ms| sign * ms)
}

#[cfg(test)]
mod tests {
    use crate::scenario::parse;

    const LOAD: &str = "name = \"x\"\n[[load]]\nworkload = \"tasks\"\nexecutor = \"constant-vus\"\nduration = \"9s\"\n";

    #[track_caller]
    fn told(fault: &str) -> String {
        match parse("x.toml", &format!("{LOAD}[[fault]]\nat = \"1s\"\n{fault}")) {
            Ok(scenario) => {
                format!("{} = {}", scenario.fault[0].describe(1), serde_json::to_value(&scenario.fault[0]).unwrap())
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn faults_are_read_and_told() {
        for (fault, expected) in [
            (
                "kind = \"kill\"",
                r#"SIGKILL of the own gateway, started again after 1s = {"at":"1s","for":"1s","gateway":1,"kind":"kill"}"#,
            ),
            ("kind = \"restart\"", r#"restart of the own gateway = {"at":"1s","gateway":1,"kind":"restart"}"#),
            (
                "kind = \"clock\"\nshift = \"-1h\"\nfor = \"2s\"",
                r#"the clock of the own gateway is 1h slow for 2s = {"at":"1s","for":"2s","gateway":1,"kind":"clock","shift":"-1h"}"#,
            ),
            (
                "kind = \"fill_disk\"",
                r#"the disk of the own gateway is full for 1s = {"at":"1s","for":"1s","gateway":1,"kind":"fill_disk","leave_bytes":0}"#,
            ),
            (
                "kind = \"toxic\"\nproxy = \"clients\"\ntoxic = { type = \"latency\", stream = \"both\", attributes = { latency = 5 } }",
                r#"latency (latency 5) between clients and gateway for 1s = {"at":"1s","for":"1s","gateway":"all","kind":"toxic","proxy":["clients"],"toxic":[{"attributes":{"latency":5},"stream":"both","type":"latency"}]}"#,
            ),
            (
                "kind = \"down\"\nproxy = [\"workers\", \"subscribers\"]",
                r#"no way through between workers and gateway and between subscribers and gateway for 1s = {"at":"1s","for":"1s","gateway":"all","kind":"down","proxy":["workers","subscribers"]}"#,
            ),
        ] {
            assert_eq!(told(fault), expected);
        }
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        for (fault, expected) in [
            ("kind = \"freeze\"", "x.toml:8: unknown fault \"freeze\"; one of: kill, stop"),
            ("kind = \"restart\"\nfor = \"1s\"", "x.toml:9: a restart is over when it is done"),
            ("kind = \"stop\"\nprocess = \"a\"\ngateway = 1", "x.toml:9: it is done to a `gateway` or to a `process`"),
            ("kind = \"clock\"\nshift = \"2d\"", "x.toml:9: `shift` must be a length of time up to 24h"),
            ("kind = \"down\"", "x.toml:6: [[fault]]: `proxy` is missing"),
            ("kind = \"toxic\"\nproxy = \"clients\"", "x.toml:6: [[fault]]: `toxic` is missing"),
            (
                "kind = \"toxic\"\nproxy = \"clients\"\ntoxic = { type = \"latncy\" }",
                "x.toml:10: `toxic`: invalid toxic type",
            ),
            (
                "kind = \"toxic\"\nproxy = \"clients\"\ntoxic = { type = \"latency\", attributes = { latncy = 1 } }",
                "x.toml:10: `toxic`: unknown attribute \"latncy\"",
            ),
            (
                "kind = \"down\"\nproxy = \"radis\"",
                "x.toml:9: there is no [[proxy]] \"radis\"; did you mean \"redis\"?",
            ),
            ("kind = \"down\"\nproxy = \"redis\"", "x.toml:9: there is no Redis"),
            ("kind = \"kill\"\nprocess = \"redis\"", "x.toml:9: there is no process \"redis\""),
        ] {
            let told = told(fault);
            assert!(told.starts_with(expected), "{told}\n{expected}");
        }
    }
}
