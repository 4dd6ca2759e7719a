//! The binary of the assignment service.

fn main() -> std::process::ExitCode {
    otklik_chassis::run::main::<otklik_assignment::Assignment>()
}
