//! The target as the storm sees it from outside: its process (if it started it, or was told the pid), its own figures over
//! HTTP, and, for own gateways, their life and death.

mod look;
mod own;
mod process;
mod vigil;

pub(crate) use look::{Look, Watcher, is_quiet};
pub(crate) use own::{Crew, Fleet, Heard, Setup, Urls};
pub(crate) use process::{Sampler, Samplers, is_process, machine, started};
pub(crate) use vigil::{Changed, Vigil};
