//! The binary `otklik-audit`.

fn main() -> std::process::ExitCode {
    otklik_chassis::run::main::<otklik_audit::Audit>()
}
