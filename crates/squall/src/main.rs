//! Squall: event-driven sessions, and the proof that they survive load and faults.
//!
//! This crate is the program. It finds the configuration ([`config`]), puts the parts together, one file for each
//! subcommand ([`commands`]), and stops them ([`shutdown`]). What the parts do is their own business.

mod cli;
mod commands;
mod config;
mod exit;
mod logging;
mod open_files;
mod shutdown;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

/// Faster than the system's under many small allocations from several threads, which is what a gateway does.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    exit::code(run(Cli::parse()))
}

fn run(cli: Cli) -> anyhow::Result<exit::Exit> {
    match cli.command {
        Command::Serve(args) => commands::serve::serve(args.settings()?),
        Command::Run(args) if args.explain() => commands::run::explain(&args.plan()?),
        Command::Run(args) => {
            let archive = args.archive()?;
            commands::run::run(args.plan()?, archive)
        }
        Command::Chaos(args) => commands::chaos::chaos(args.chaos()?),
        Command::Proxy(args) => commands::proxy::proxy(args),
        Command::List => Ok(commands::list::list()),
        Command::Report(args) => match &args.against {
            Some(baseline) => commands::report::compare(baseline, &args.dir, args.format, args.margin / 100.0),
            None => commands::report::report(&args.dir, args.format),
        },
        Command::DeadLetters(args) => commands::dead_letters::dead_letters(args),
        Command::Migrate(args) => commands::migrate::migrate(args.migration()?),
        Command::Config(args) => commands::config::config(args),
        Command::Token(args) => commands::token::token(&args),
    }
}
