//! What the user typed. Each subcommand turns its arguments into what it needs, checked, before it does anything.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand};
use squall_client::Endpoint;
use squall_gateway::config::Scope;
use squall_load::{Overrides, Plan, Target, Terminal, scenario};
use squall_protocol::dead_letter::{DeadLetterFilter, DeadReason};
use squall_protocol::{SessionId, TaskId, Time};
use squall_store::archive::{check_schema, check_url};
use squall_store::config::Archive as ArchiveConfig;

use crate::config::{self, ConfigError, Format, Settings, Sources};
use crate::exit::Usage;

/// Event-driven sessions, and the proof that they survive load and faults.
#[derive(Debug, Parser)]
#[command(name = "squall", version, propagate_version = true, arg_required_else_help = true, after_help = AFTER)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER: &str = "\
Exit codes: 0 passed; 1 could not run; 2 usage or configuration; 98 the ledger found a loss; 99 a threshold or an\nexperiment failed.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the gateway.
    Serve(ServeArgs),
    /// Run a storm, and say whether everything that was promised was kept.
    Run(RunArgs),
    /// Do experiments: a fault under load, and whether what was supposed of it held.
    Chaos(ChaosArgs),
    /// Run the fault proxy: TCP proxies with toxics, set through Toxiproxy's HTTP API.
    Proxy(ProxyArgs),
    /// List the built-in storms.
    List,
    /// Print a run again, or compare it with an earlier one.
    Report(ReportArgs),
    /// List, show, send back or delete the dead letters of a running gateway.
    #[command(alias = "dlq")]
    DeadLetters(DeadLettersArgs),
    /// Move a stopped gateway's embedded store into Redis.
    Migrate(MigrateArgs),
    /// Check the configuration, or show what holds.
    Config(ConfigArgs),
    /// Make a token for callers of the gateway.
    Token(TokenArgs),
}

/// `squall serve`.
#[derive(Debug, Args)]
#[command(after_help = "Every setting can also come from the environment: SQUALL_SECTION__KEY=value. \
    Flags go before the environment, the environment before the file.\n\
    SIGTERM drains: no new work, leases returned, everything flushed, exit code 0. A second signal stops at once.")]
pub(crate) struct ServeArgs {
    /// The configuration file [default: squall.toml if it is there, else the built-in one].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Where tasks, sessions and the feed are kept; made if it is not there.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// How log lines look, on standard error.
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<Format>,
}

impl ServeArgs {
    /// The settings that hold for these arguments and this environment.
    pub(crate) fn settings(self) -> Result<Settings, ConfigError> {
        let mut flags = Vec::new();
        if let Some(addr) = self.listen {
            flags.push(("server.listen", addr.to_string(), "--listen"));
        }
        if let Some(dir) = self.data_dir {
            flags.push(("server.data_dir", dir.display().to_string(), "--data-dir"));
        }
        if let Some(format) = self.log_format {
            let word = match format {
                Format::Text => "text",
                Format::Json => "json",
            };
            flags.push(("log.format", word.to_owned(), "--log-format"));
        }
        config::load(Sources { file: self.config, env: std::env::vars().collect(), flags })
    }
}

/// `squall migrate`.
#[derive(Debug, Args)]
#[command(
    after_help = "The settings are read as squall serve reads them: lanes and limits should be those of the gateways that go on in \
    Redis.\n\
    Nothing in the data directory changes until all of it is in Redis and was counted there; then a file in it, moved, keeps a gateway \
    from starting on it. A move that was stopped before is done again from the beginning by running this again.\n\
    Exit codes: 0 moved, or counted; 1 could not, or the counts differ, and no gateway starts on what is there; 2 usage."
)]
pub(crate) struct MigrateArgs {
    /// The data directory of the gateway, which must not run.
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// The Redis, as in redis://10.0.0.5:6379/0. A password is better in the environment: SQUALL_STORE__URL [default: store.url].
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// What all keys begin with [default: store.key_prefix].
    #[arg(long, value_name = "PREFIX")]
    key_prefix: Option<String>,
    /// The configuration file [default: squall.toml if it is there, else the built-in one].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Look at both sides, count, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// What [`MigrateArgs`] ask for.
#[derive(Debug)]
pub(crate) struct Migration {
    /// Where the store is.
    pub(crate) from: PathBuf,
    /// Where it goes, and how it is set there.
    pub(crate) options: squall_store::config::Options,
    /// Only count.
    pub(crate) dry_run: bool,
}

impl MigrateArgs {
    /// What is to be moved where.
    pub(crate) fn migration(self) -> anyhow::Result<Migration> {
        let mut flags = Vec::new();
        if let Some(url) = self.to {
            flags.push(("store.url", url, "--to"));
        }
        if let Some(prefix) = self.key_prefix {
            flags.push(("store.key_prefix", prefix, "--key-prefix"));
        }
        let settings = config::load(Sources { file: self.config, env: std::env::vars().collect(), flags })?;
        let options = settings.gateway.store_options();
        if options.store.url.is_empty() {
            return Err(Usage("nothing says where to: give --to redis://…, or set store.url".to_owned()).into());
        }
        Ok(Migration { from: self.from, options, dry_run: self.dry_run })
    }
}

/// `squall run`.
#[derive(Debug, Args)]
#[command(
    after_help = "Ctrl-C ends the load early and still reports; a second Ctrl-C stops at once, without a report.\n\
    Exit codes: 0 passed; 99 a threshold failed; 98 the ledger found a loss; 2 usage; 1 could not run, or could not be judged."
)]
pub(crate) struct RunArgs {
    /// A built-in scenario (see squall list), or the path of a TOML file.
    scenario: String,
    /// Say what the scenario does and must hold, and do nothing.
    #[arg(long)]
    explain: bool,
    /// A running gateway, or any other service [default: a gateway of its own, in a temporary directory].
    #[arg(long, value_name = "URL")]
    target: Option<Endpoint>,
    /// The token to show the target.
    #[arg(long, env = "SQUALL_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// The target's process on this machine, to be sampled for CPU, memory, threads and file descriptors.
    #[arg(long, requires = "target")]
    pid: Option<u32>,
    /// Sessions at the same time; without sessions, virtual users.
    #[arg(long, value_name = "N")]
    concurrent: Option<u32>,
    /// How long the load lasts: 30s, 5m, 1h. Stages and faults keep their place in proportion.
    #[arg(long, value_name = "TIME", value_parser = span)]
    duration: Option<Duration>,
    /// Events that each session makes per minute.
    #[arg(long, value_name = "N")]
    events_per_min: Option<f64>,
    /// So many gateways of its own, which act as one on the Redis that --store names [default: what the scenario says, or 1].
    #[arg(long, value_name = "N", conflicts_with = "target")]
    gateways: Option<u32>,
    /// The Redis of the own gateways: redis://… or rediss://… (TLS). The run keeps to keys of its own, and removes them at its end
    /// [default: the embedded store].
    #[arg(long, value_name = "URL", conflicts_with = "target")]
    store: Option<String>,
    /// A setting of the own gateway, as in its configuration file: store.durability=interval. May be repeated.
    #[arg(short = 'e', long = "set", value_name = "KEY=VALUE", value_parser = setting, conflicts_with = "target")]
    set: Vec<(String, toml::Value)>,
    /// Leave the own gateway's data behind, its directory and its keys in Redis; the report says where they are.
    #[arg(long, conflicts_with = "target")]
    keep_data: bool,
    /// Where run directories are made.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    out: PathBuf,
    /// Put fault proxies between the own gateways, their Redis and PostgreSQL, and all clients, and let them be set through Toxiproxy's
    /// API on this address while the run goes on: 127.0.0.1:8474, for example.
    #[arg(long, value_name = "ADDR", conflicts_with = "target")]
    proxy_api: Option<SocketAddr>,
    /// A PostgreSQL that the run's record is written to as well, as gateways name theirs in `[archive]`.
    #[arg(long, value_name = "URL", env = "SQUALL_ARCHIVE__URL", hide_env_values = true)]
    archive: Option<String>,
    /// The schema of the archive's tables.
    #[arg(long, value_name = "NAME", env = "SQUALL_ARCHIVE__SCHEMA", default_value = "squall")]
    archive_schema: String,
    /// The authority that signed the archive's certificate, with sslmode=verify-full [default: those that the system trusts].
    #[arg(long, value_name = "FILE", env = "SQUALL_ARCHIVE__CA_FILE", default_value = "", hide_default_value = true)]
    archive_ca_file: String,
    /// The seed of everything random; the report says it [default: another one each time].
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Plain lines of progress, as when this is no terminal.
    #[arg(long, conflicts_with = "quiet")]
    plain: bool,
    /// No progress at all; only the verdict.
    #[arg(long, short)]
    quiet: bool,
}

fn span(text: &str) -> Result<Duration, String> {
    scenario::parse_span(text).ok_or_else(|| "expected a time such as 500ms, 30s, 5m or 1h30m".to_owned())
}

fn setting(text: &str) -> Result<(String, toml::Value), String> {
    let Some((key, value)) = text.split_once('=') else {
        return Err("expected KEY=VALUE, as in store.durability=interval".to_owned());
    };
    let value = value.trim();
    let parsed = format!("value = {value}").parse::<toml::Table>().ok().and_then(|mut table| table.remove("value"));
    Ok((key.trim().to_owned(), parsed.unwrap_or_else(|| value.into())))
}

impl RunArgs {
    /// Whether it is only to be explained.
    pub(crate) fn explain(&self) -> bool {
        self.explain
    }

    /// Where the run's record goes besides its directory. Checked here, so that a typing error is told before the storm.
    pub(crate) fn archive(&self) -> Result<Option<ArchiveConfig>, Usage> {
        let Some(url) = self.archive.clone().filter(|url| !url.is_empty()) else { return Ok(None) };
        check_url(&url, &self.archive_ca_file).map_err(|why| Usage(format!("--archive: {why}")))?;
        check_schema(&self.archive_schema).map_err(|why| Usage(format!("--archive-schema: {why}")))?;
        Ok(Some(ArchiveConfig {
            url,
            ca_file: self.archive_ca_file.clone(),
            schema: self.archive_schema.clone(),
            ..ArchiveConfig::default()
        }))
    }

    /// What the storm needs to know.
    pub(crate) fn plan(self) -> anyhow::Result<Plan> {
        let mut scenario = scenario::find(&self.scenario).map_err(|error| Usage(error.to_string()))?;
        for (key, value) in self.set {
            set(&mut scenario.target, &key, value)?;
        }
        let target = match self.target {
            None => own_gateway(self.keep_data)?,
            Some(url) => Target::Url { url: url.to_string(), token: self.token, pid: self.pid },
        };
        let terminal = terminal(self.plain, self.quiet);
        let overrides = Overrides {
            concurrent: self.concurrent,
            duration: self.duration,
            events_per_min: self.events_per_min,
            gateways: self.gateways,
            store: self.store,
            fault_lasts: None,
        };
        Ok(Plan {
            scenario,
            overrides,
            target,
            runs_dir: self.out,
            terminal,
            proxy_api: self.proxy_api,
            seed: self.seed,
        })
    }
}

/// Sets `store.durability` in a table of sections.
fn set(table: &mut toml::Table, key: &str, value: toml::Value) -> Result<(), Usage> {
    let (mut table, mut rest) = (table, key);
    while let Some((section, below)) = rest.split_once('.') {
        let entry = table.entry(section).or_insert_with(|| toml::Table::new().into());
        table = entry.as_table_mut().ok_or_else(|| Usage(format!("--set {key}: {section} is no group of settings")))?;
        rest = below;
    }
    if rest.is_empty() {
        return Err(Usage(format!("--set {key:?} names no setting; one is store.durability, for example")));
    }
    table.insert(rest.to_owned(), value);
    Ok(())
}

/// `squall chaos`.
#[derive(Debug, Args)]
#[command(
    after_help = "An experiment starts a gateway of its own, and a real Redis and PostgreSQL where it needs them and no address is given; \
    it looks whether all is well before, during and after the fault, and passes or fails.\n\
    Everything is undone at the end, on Ctrl-C, and by the next run after a crash; squall chaos clear does it now.\n\
    Exit codes: 0 passed; 99 what was supposed did not hold; 98 something was lost; 2 usage; 1 could not run."
)]
pub(crate) struct ChaosArgs {
    /// An experiment, all of them (all), or what undoes whatever was left behind (clear) [default: list them].
    name: Option<String>,
    /// How long the fault lasts [default: what the experiment says].
    #[arg(value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: Option<u32>,
    /// Say what would be done and must hold, and do nothing.
    #[arg(long)]
    explain: bool,
    /// A Redis that is there, instead of one that is started. The run keeps to keys of its own, and removes them at its end.
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// A PostgreSQL that is there, instead of one that is started. Give it a schema of its own: -e archive.schema=chaos.
    #[arg(long, value_name = "URL")]
    archive: Option<String>,
    /// A setting of the gateway, as in its configuration file. May be repeated.
    #[arg(short = 'e', long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    set: Vec<(String, toml::Value)>,
    /// Where run directories are made.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    out: PathBuf,
    /// The seed of everything random; the report says it [default: another one each time].
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// With clear: the fault proxy's API, whose proxies are all opened and freed of toxics.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8474")]
    api: Endpoint,
    /// Plain lines of progress, as when this is no terminal.
    #[arg(long, conflicts_with = "quiet")]
    plain: bool,
    /// No progress at all; only the verdict.
    #[arg(long, short)]
    quiet: bool,
}

/// What [`ChaosArgs`] ask for.
#[derive(Debug)]
pub(crate) enum Chaos {
    /// Say which experiments there are.
    List,
    /// Say what these do.
    Explain(Vec<Plan>),
    /// Do these, one after the other.
    Do(Vec<Plan>),
    /// Undo what was left behind, also in the fault proxy that listens there.
    Clear(Endpoint),
}

impl ChaosArgs {
    /// What is to be done.
    pub(crate) fn chaos(self) -> anyhow::Result<Chaos> {
        let names: Vec<String> = match self.name.as_deref() {
            None => return Ok(Chaos::List),
            Some("clear") => return Ok(Chaos::Clear(self.api)),
            Some("all") => scenario::experiments().into_iter().map(|(name, _)| name.to_owned()).collect(),
            Some(name) => vec![name.to_owned()],
        };
        let mut plans = Vec::new();
        for name in names {
            let mut scenario = scenario::find(&name).map_err(|error| Usage(error.to_string()))?;
            if scenario.experiment.is_none() {
                return Err(
                    Usage(format!("{name} is no experiment: it has no [experiment]; squall run runs it")).into()
                );
            }
            for (key, value) in &self.set {
                set(&mut scenario.target, key, value.clone())?;
            }
            if let Some(url) =
                self.archive.as_deref().filter(|_| scenario.services.contains(&scenario::Service::Postgres))
            {
                check_url(url, "").map_err(|why| Usage(format!("--archive: {why}")))?;
                set(&mut scenario.target, "archive.url", url.into())?;
            }
            let store = self.store.clone().filter(|_| scenario.services.contains(&scenario::Service::Redis));
            let overrides = Overrides {
                store,
                fault_lasts: self.seconds.map(|seconds| Duration::from_secs(seconds.into())),
                ..Overrides::default()
            };
            plans.push(Plan {
                scenario,
                overrides,
                target: own_gateway(false)?,
                runs_dir: self.out.clone(),
                terminal: terminal(self.plain, self.quiet),
                proxy_api: None,
                seed: self.seed,
            });
        }
        Ok(if self.explain { Chaos::Explain(plans) } else { Chaos::Do(plans) })
    }
}

/// A gateway that the storm starts itself: this program.
fn own_gateway(keep_data: bool) -> anyhow::Result<Target> {
    Ok(Target::Own { program: std::env::current_exe()?, keep_data, key_prefix: squall_load::key_prefix() })
}

const fn terminal(plain: bool, quiet: bool) -> Terminal {
    match (plain, quiet) {
        (true, _) => Terminal::Plain,
        (_, true) => Terminal::None,
        _ => Terminal::Auto,
    }
}

/// `squall proxy`.
#[derive(Debug, Args)]
#[command(after_help = "Clients of Toxiproxy work unchanged; docs/guide/faults.md says what there is beyond it.\n\
    SIGTERM closes all proxies and their connections, exit code 0.")]
pub(crate) struct ProxyArgs {
    /// Where the API listens. It knows no passwords: whoever reaches it can reach what this machine can.
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1")]
    pub(crate) host: String,
    /// The API's port; 0 takes a free one.
    #[arg(long, value_name = "PORT", default_value_t = 8474)]
    pub(crate) port: u16,
    /// The proxies to start with, and their toxics: a JSON array as POST /populate takes it.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The seed of everything random [default: another one each time, which is said].
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
}

/// `squall report`.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// The run directory, as in runs/20261121T070000Z-light.
    pub(crate) dir: PathBuf,
    /// In which form.
    #[arg(long, value_name = "FORMAT", default_value = "terminal")]
    pub(crate) format: ReportFormat,
    /// Compare it with this earlier run: what got worse, what better, and what cannot be told apart.
    #[arg(long, value_name = "DIR")]
    pub(crate) against: Option<PathBuf>,
    /// The smallest change that matters, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 10.0, requires = "against", value_parser = percent)]
    pub(crate) margin: f64,
}

/// The forms of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ReportFormat {
    /// For people at a terminal.
    Terminal,
    /// For pull requests.
    Markdown,
    /// For programs.
    Json,
    /// For CI servers.
    Junit,
    /// One page for a browser.
    Html,
}

/// `squall config`.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    pub(crate) command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Say what is wrong with a configuration; exit code 2 if something is.
    Check {
        /// The file [default: as `squall serve` would find it].
        file: Option<PathBuf>,
    },
    /// Print the settings that hold, each with where it comes from. Secrets are not shown.
    Show {
        /// The file [default: as `squall serve` would find it].
        file: Option<PathBuf>,
    },
    /// Print the built-in configuration, to start a file of one's own.
    Example,
}

/// `squall token`.
#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    /// Who will use it; shown in logs and in the trail of a replay.
    #[arg(default_value = "token", value_name = "NAME")]
    pub(crate) name: String,
    /// Whose tasks and sessions it sees.
    #[arg(long, default_value = "default")]
    pub(crate) tenant: String,
    /// What it may do.
    #[arg(long, value_delimiter = ',', default_value = "publish,work,read", value_parser = PossibleValuesParser::new(SCOPES.map(Scope::as_str)))]
    pub(crate) scopes: Vec<String>,
}

const SCOPES: [Scope; 4] = [Scope::Publish, Scope::Work, Scope::Read, Scope::Admin];

/// Where a running gateway is.
#[derive(Debug, Args)]
pub(crate) struct GatewayArgs {
    /// The gateway's address.
    #[arg(
        long,
        global = true,
        help_heading = "Gateway",
        env = "SQUALL_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:8000"
    )]
    url: Endpoint,
    /// The token to show it.
    #[arg(
        long,
        global = true,
        help_heading = "Gateway",
        env = "SQUALL_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true
    )]
    token: Option<String>,
}

impl GatewayArgs {
    /// Address and token in one.
    pub(crate) fn endpoint(&self) -> Result<Endpoint, Usage> {
        match &self.token {
            Some(token) => self.url.with_token(token).map_err(|error| Usage(error.to_string())),
            None => Ok(self.url.clone()),
        }
    }
}

/// `squall dead-letters`.
#[derive(Debug, Args)]
pub(crate) struct DeadLettersArgs {
    #[command(flatten)]
    pub(crate) gateway: GatewayArgs,
    #[command(subcommand)]
    pub(crate) command: DeadLettersCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeadLettersCommand {
    /// Print them, the longest dead first.
    List {
        #[command(flatten)]
        filter: FilterArgs,
        /// At most so many.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
        limit: u64,
        /// One JSON object a line, payloads included.
        #[arg(long)]
        json: bool,
    },
    /// Print one as JSON, with its payload, its failed attempts and its trail of replays.
    Show {
        /// The task's id.
        id: TaskId,
    },
    /// Send back to their lanes, with all attempts before them again.
    Replay {
        #[command(flatten)]
        which: WhichArgs,
        /// So many a second, by delaying the later ones.
        #[arg(long, value_name = "PER_S", value_parser = rate, conflicts_with = "id")]
        rate: Option<f64>,
        /// At most so many.
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "id")]
        limit: Option<u64>,
    },
    /// Delete for good. Without --yes it only says what would go.
    Purge {
        #[command(flatten)]
        which: WhichArgs,
        /// Yes, delete them.
        #[arg(long)]
        yes: bool,
    },
}

/// Which dead letters: what is not given does not restrict.
#[derive(Clone, Debug, Args)]
#[group(multiple = true)]
pub(crate) struct FilterArgs {
    /// Of this lane.
    #[arg(long)]
    lane: Option<String>,
    /// Of this kind.
    #[arg(long)]
    kind: Option<String>,
    /// Given up for this reason.
    #[arg(long, value_parser = PossibleValuesParser::new(DeadReason::ALL.map(DeadReason::as_str)))]
    reason: Option<String>,
    /// Of this session.
    #[arg(long)]
    session: Option<SessionId>,
    /// Given up before this instant, as in 2026-11-21T07:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = instant)]
    before: Option<Time>,
    /// Given up at or after this instant.
    #[arg(long, value_name = "TIME", value_parser = instant)]
    since: Option<Time>,
}

impl From<FilterArgs> for DeadLetterFilter {
    fn from(args: FilterArgs) -> Self {
        let reason = args.reason.and_then(|word| DeadReason::ALL.into_iter().find(|reason| reason.as_str() == word));
        Self { lane: args.lane, kind: args.kind, reason, session: args.session, before: args.before, since: args.since }
    }
}

/// One by id, some by filter, or all of them.
#[derive(Clone, Debug, Args)]
pub(crate) struct WhichArgs {
    /// This one.
    #[arg(required_unless_present_any = ["FilterArgs", "all"], conflicts_with_all = ["FilterArgs", "all"])]
    id: Option<TaskId>,
    #[command(flatten)]
    filter: FilterArgs,
    /// All of them.
    #[arg(long, conflicts_with = "FilterArgs")]
    all: bool,
}

/// What is meant by [`WhichArgs`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Which {
    /// This one.
    One(TaskId),
    /// All that match.
    Filter(DeadLetterFilter),
}

impl From<WhichArgs> for Which {
    fn from(args: WhichArgs) -> Self {
        match args.id {
            Some(id) => Self::One(id),
            None => Self::Filter(args.filter.into()),
        }
    }
}

fn instant(text: &str) -> Result<Time, String> {
    text.parse().map_err(|_| "expected an instant such as 2026-11-21T07:00:00Z".to_owned())
}

fn percent(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(percent) if (0.0..=1_000.0).contains(&percent) => Ok(percent),
        _ => Err("expected a number from 0 to 1000".to_owned()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if rate > 0.0 && f64::is_finite(rate) => Ok(rate),
        _ => Err("expected a number above 0".to_owned()),
    }
}
