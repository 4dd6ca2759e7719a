//! Reading NDJSON and CSV line by line, without holding the file in memory.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use anyhow::Context;
use clap::ValueEnum;

use super::line::{CSV_COLUMNS, Line, LineAuthor, Op};

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON object a line.
    Ndjson,
    /// A header row, then one row a message.
    Csv,
}

/// A line with its number in the file, from 1, or what is wrong with it.
pub type Numbered = (u64, Result<Line, String>);

/// Longest line in bytes; a longer one is reported and left out.
const LONGEST_LINE: u64 = 4 << 20;

/// Opens `file` (`-` is standard input). The format is told by the name unless it is given.
///
/// # Errors
/// When the file can't be opened, or a CSV has no usable header.
pub fn open(file: &Path, format: Option<Format>) -> anyhow::Result<Box<dyn Iterator<Item = Numbered> + Send>> {
    let input: Box<dyn Read + Send> = if file.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        Box::new(File::open(file).with_context(|| format!("can't open {}", file.display()))?)
    };
    let is_csv = file.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv"));
    match format.unwrap_or(if is_csv { Format::Csv } else { Format::Ndjson }) {
        Format::Ndjson => Ok(Box::new(ndjson(BufReader::new(input)))),
        Format::Csv => Ok(Box::new(csv_lines(input)?)),
    }
}

/// Lines of NDJSON; blank ones are passed over.
pub fn ndjson(mut input: impl BufRead + Send) -> impl Iterator<Item = Numbered> + Send {
    let mut number = 0;
    std::iter::from_fn(move || {
        loop {
            number += 1;
            let mut bytes = Vec::new();
            let read = (&mut input).take(LONGEST_LINE).read_until(b'\n', &mut bytes);
            match read {
                Err(error) => return Some((number, Err(format!("can't be read: {error}")))),
                Ok(0) => return None,
                Ok(n) if n as u64 == LONGEST_LINE => {
                    // The rest of the line goes with it.
                    let _ = input.skip_until(b'\n');
                    return Some((number, Err(format!("is longer than {LONGEST_LINE} bytes"))));
                }
                Ok(_) if bytes.iter().all(u8::is_ascii_whitespace) => {}
                Ok(_) => {
                    let line = serde_json::from_slice(&bytes).map_err(|e| format!("is not a message: {e}"));
                    return Some((number, line));
                }
            }
        }
    })
}

fn csv_lines(input: Box<dyn Read + Send>) -> anyhow::Result<impl Iterator<Item = Numbered> + Send> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(input);
    let header = reader.headers().context("the CSV has no header row")?.clone();
    let unknown: Vec<&str> = header.iter().filter(|c| !CSV_COLUMNS.contains(c)).collect();
    anyhow::ensure!(
        unknown.is_empty(),
        "unknown CSV column(s) {}; known are {}",
        unknown.join(", "),
        CSV_COLUMNS.join(", ")
    );
    Ok(reader.into_records().map(move |record| match record {
        Ok(record) => {
            let number = record.position().map_or(0, csv::Position::line);
            (number, csv_line(&header, &record))
        }
        Err(error) => (error.position().map_or(0, csv::Position::line), Err(format!("is not a CSV row: {error}"))),
    }))
}

fn csv_line(header: &csv::StringRecord, record: &csv::StringRecord) -> Result<Line, String> {
    if record.len() != header.len() {
        return Err(format!("has {} columns instead of {}", record.len(), header.len()));
    }
    let get = |column: &str| {
        header.iter().position(|c| c == column).and_then(|i| record.get(i)).unwrap_or_default().to_owned()
    };
    let op = match get("op").as_str() {
        "" | "submit" => Op::Submit,
        "withdraw" => Op::Withdraw,
        "erase" => Op::Erase,
        other => return Err(format!("op {other:?} is none of submit, withdraw, erase")),
    };
    let revision = get("source_revision");
    Ok(Line {
        op,
        source_id: get("source_id"),
        external_id: get("external_id"),
        source_revision: if revision.is_empty() {
            1
        } else {
            revision.parse().map_err(|_| format!("source_revision {revision:?} is no number"))?
        },
        channel: get("channel"),
        published_time: get("published_time"),
        received_time: None,
        author: Some(LineAuthor { external_id: get("author_external_id"), display_name: get("author_display_name") }),
        author_external_id: get("author_external_id"),
        text: get("text"),
        in_reply_to: get("in_reply_to"),
        url: get("url"),
        sample: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_line_is_told_by_its_number_and_the_others_go_on() {
        let text = concat!(
            r#"{"source_id":"s","external_id":"1","published_time":"2020-01-01T00:00:00Z","author":{"external_id":"a"},"text":"x"}"#,
            "\n\nnot json\n",
            r#"{"source_id":"s","external_id":"2","published_time":"2020-01-01T00:00:00Z","author":{"external_id":"a"},"text":"y"}"#,
        );
        let lines: Vec<Numbered> = ndjson(text.as_bytes()).collect();
        assert_eq!(lines.iter().map(|(n, l)| (*n, l.is_ok())).collect::<Vec<_>>(), [(1, true), (3, false), (4, true)]);
    }

    #[test]
    fn csv_has_the_same_lines() {
        let text = "source_id,external_id,published_time,author_external_id,text\ns,1,2020-01-01T00:00:00Z,a,\"Нет света,\nвторой день\"\ns,2\n";
        let lines: Vec<Numbered> = csv_lines(Box::new(text.as_bytes())).unwrap().collect();
        assert_eq!(lines[0].1.as_ref().unwrap().text, "Нет света,\nвторой день");
        assert!(lines[1].1.as_ref().unwrap_err().contains("columns"));
    }
}
