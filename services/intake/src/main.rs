//! `otklik-intake`: the service by itself.

fn main() -> std::process::ExitCode {
    otklik_chassis::run::main::<otklik_intake::Intake>()
}
