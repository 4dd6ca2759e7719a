//! The binary of the feedback service.

fn main() -> std::process::ExitCode {
    otklik_chassis::run::main::<otklik_feedback::Feedback>()
}
