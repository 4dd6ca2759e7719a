//! The binary of the service.

fn main() -> std::process::ExitCode {
    otklik_chassis::run::main::<otklik_classification::Classification>()
}
