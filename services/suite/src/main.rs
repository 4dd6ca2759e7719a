//! `otklik`: all services in one process, and the tools around them.

use std::process::ExitCode;

use clap::Parser;
use otklik_suite::command::Otklik;

fn main() -> ExitCode {
    Otklik::parse().run()
}
