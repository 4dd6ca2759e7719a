//! Any service of the suite, chosen by the name that the process is started under: `otklik-intake`,
//! `otklik-classification`, `otklik-assignment`, `otklik-feedback` or `otklik-audit`.
//!
//! Each is the very `main` of the service's own binary. Tests start services through this one because cargo builds
//! the binaries of a test's own package with it, and those of other packages only sometimes.

use std::{io::Write, path::Path, process::ExitCode};

use otklik_chassis::run;

fn main() -> ExitCode {
    let started_as = std::env::args_os().next().unwrap_or_default();
    match Path::new(&started_as).file_name().and_then(|name| name.to_str()) {
        Some("otklik-intake") => run::main::<otklik_intake::Intake>(),
        Some("otklik-classification") => run::main::<otklik_classification::Classification>(),
        Some("otklik-assignment") => run::main::<otklik_assignment::Assignment>(),
        Some("otklik-feedback") => run::main::<otklik_feedback::Feedback>(),
        Some("otklik-audit") => run::main::<otklik_audit::Audit>(),
        other => {
            let _ = writeln!(std::io::stderr(), "{} is no service", other.unwrap_or("this"));
            ExitCode::from(run::BAD_CONFIG)
        }
    }
}
