//! Pure decisions: what a text is about, and what becomes of a message's classification.
//!
//! [`classifier`] puts a decision together from [`text`] (words and units), [`model`] (topics), [`manner`] (kind and
//! urgency), [`questions`] (which units make a question) and [`places`]. [`life`] decides what an arriving version, a
//! withdrawal or a correction makes of what is stored. Nothing here knows of transport, storage or clocks.

pub mod classifier;
pub mod cues;
pub mod life;
pub mod manner;
pub mod model;
pub mod places;
pub mod question;
pub mod questions;
pub mod taxonomy;
pub mod text;
pub mod words;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod samples;
