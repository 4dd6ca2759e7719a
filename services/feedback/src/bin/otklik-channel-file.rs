//! The binary of the channel adapter that appends deliveries to a file.

fn main() -> std::process::ExitCode {
    otklik_chassis::run::main::<otklik_feedback::adapter::FileChannel>()
}
