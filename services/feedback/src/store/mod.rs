//! The database of feedback: what is kept, how sets of commands change it, how it is read.

mod answering;
mod answers;
mod cases;
mod codes;
pub mod command;
mod deliveries;
mod entries;
mod leaving;
mod migration;
mod rating;
mod ratings;
mod reading;
mod sending;
mod writer;

pub use migration::Migrator;
pub use reading::{AnswerFilter, DeliveryFilter, Keyset, RatingFilter, Reader};
pub use writer::Writer;
