//! What the shipped pack makes of whole texts, all written for this table; and what it never does to any text.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::{
    classifier::{Classifier, REVIEW_BELOW},
    question::{Decision, Kind, Question, Urgency},
};
use crate::pack;

static CLASSIFIER: LazyLock<Classifier> =
    LazyLock::new(|| pack::open(None).expect("the shipped pack is sound").classifier);

fn classified(text: &str) -> Vec<Question> {
    CLASSIFIER.classify(text, "")
}

/// Text; topic; kind; urgency; the most specific place, if any. All are sure enough to be decided.
#[rustfmt::skip]
const ONE_QUESTION: &[(&str, &str, Kind, Urgency, &str)] = &[
    ("Добрый день. Во Владивостоке на Сабанеева отключили свет, когда дадут электричество?", "housing-utilities.power-outage", Kind::Question, Urgency::High, "vladivostok"),
    ("В подъезде сломался лифт, не работает вторую неделю, управляющая молчит", "housing-utilities.elevators", Kind::Complaint, Urgency::High, ""),
    ("Из крана течёт ржавая вода, грязная вода уже месяц, пить невозможно. Уссурийск", "housing-utilities.water-quality", Kind::Complaint, Urgency::Normal, "ussuriysk"),
    ("Батареи холодные, нет отопления, в квартире холодно. Находка", "housing-utilities.heating", Kind::Complaint, Urgency::High, "nakhodka"),
    ("В автобусе водитель курит и хамит пассажирам, водитель автобуса разговаривает по телефону", "public-transport.drivers", Kind::Complaint, Urgency::Normal, ""),
    ("Не вывозят мусор, мусорные контейнеры переполнены", "waste.collection", Kind::Complaint, Urgency::Normal, ""),
    ("Не могу записаться к врачу, талонов нет, в регистратуру не дозвониться", "healthcare.appointment", Kind::Complaint, Urgency::Normal, ""),
    ("Предлагаю установить светофор на перекрёстке", "roads.traffic-lights-signs", Kind::Proposal, Urgency::Normal, ""),
    ("Спасибо за новую детскую площадку, теперь есть где играть: песочница, горка, качели", "landscaping.playgrounds", Kind::Thanks, Urgency::Normal, ""),
    ("Подскажите, когда начнется ремонт дороги? Раскопали дорогу и бросили", "roads.repair", Kind::Question, Urgency::Normal, ""),
];

#[test]
fn one_question() {
    for (text, topic, kind, urgency, place) in ONE_QUESTION {
        let found = classified(text);
        assert_eq!(found.len(), 1, "{text}: {found:#?}");
        let question = &found[0];
        assert_eq!(question.topic, *topic, "{text}: {question:#?}");
        assert_eq!(question.decision, Decision::Auto, "{text}: {question:#?}");
        assert_eq!((question.kind, question.urgency), (*kind, *urgency), "{text}");
        assert_eq!(question.places.first().map_or("", String::as_str), *place, "{text}");
        assert_eq!(question.span, 0..text.len() as u32);
    }
}

#[test]
fn several_questions() {
    let table: &[(&str, &[&str])] = &[
        (
            "Нет света, отключили электричество. Кроме того, не вывозят мусор, контейнеры переполнены",
            &["housing-utilities", "waste"],
        ),
        (
            "1) яма на дороге, дорога разбита; 2) нет детской площадки, постройте детскую площадку; 3) в поликлинике не записаться к врачу",
            &["roads", "landscaping", "healthcare"],
        ),
        (
            "Здравствуйте! Бродячие собаки, стая собак у школы. Также нет воды, отключили воду",
            &["animals", "housing-utilities"],
        ),
        // No separator, but three plain statements about different things.
        (
            "Мусор не вывозят, мусорные баки переполнены. Лифт не работает, сломался лифт, замените лифт.",
            &["waste", "housing-utilities"],
        ),
        // A greeting and a signature are no questions.
        (
            "Здравствуйте! Отключили воду, нет воды. Заранее благодарны. С уважением, жители дома",
            &["housing-utilities"],
        ),
    ];
    for (text, groups) in table {
        let found = classified(text);
        let found_groups: Vec<&str> = found.iter().map(|question| question.group.as_str()).collect();
        assert_eq!(found_groups, *groups, "{text}: {found:#?}");
        let covered: String = found.iter().map(|q| &text[q.span.start as usize..q.span.end as usize]).collect();
        assert_eq!(covered, *text, "spans of questions that follow each other cover the text");
    }
}

#[test]
fn what_is_not_plain_goes_to_a_person() {
    for text in ["Тирлим бом бом", "Сколько можно!!!", "Ну и как это понимать, уважаемые", "123"]
    {
        let found = classified(text);
        assert_eq!(found.len(), 1, "{text}");
        assert_eq!(found[0].decision, Decision::Review, "{text}: {found:#?}");
        assert!(found[0].confidence < REVIEW_BELOW);
    }
    assert!(classified("😡😡😡 !!!").is_empty());
}

#[test]
fn advertising_is_decided_unless_it_has_a_topic() {
    let plain = classified("Быстрый займ на карту без справок, пишите в личку");
    assert_eq!((plain[0].kind, plain[0].decision), (Kind::Spam, Decision::Auto));
    let doubtful = classified("Продаю гараж. Шучу: нет света, отключили электричество, когда дадут свет");
    assert_eq!((doubtful[0].kind, doubtful[0].decision), (Kind::Spam, Decision::Review));
}

#[test]
fn places_of_the_question_of_the_message_and_of_the_source() {
    let found =
        classified("В Артёме нет света, отключили электричество. Также не вывозят мусор, контейнеры переполнены");
    assert!(found.len() == 2 && found.iter().all(|question| question.places == ["artyom"]), "{found:#?}");
    let hinted = CLASSIFIER.classify("Нет света", "nakhodka");
    assert_eq!(hinted[0].places, ["nakhodka"]);
    assert!(CLASSIFIER.classify("Нет света", "atlantis")[0].places.is_empty());
}

/// Texts of letters, words of the taxonomy, marks and whatever else Unicode has.
fn any_text() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "нет света",
        "не вывозят мусор",
        "также",
        "P.S.",
        "2)",
        "Находка",
        "ул.",
        "и еще:",
        "\n",
        ". ",
        "? ",
        "ё",
        "И\u{306}",
        "\u{345}",
        "İ",
        "ß",
        "ﬃ",
        "👨‍👩‍👧",
        "\u{0}",
        "лифт не работает",
        ", ",
        "— ",
        "\u{feff}",
        "\u{202e}",
    ]);
    let piece = prop_oneof![3 => words.prop_map(str::to_owned), 1 => any::<String>(), 1 => "\\PC{0,12}"];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_answered_soundly(text in any_text()) {
        let found = classified(&text);
        prop_assert_eq!(found.is_empty(), !text.chars().any(|c| c.is_alphanumeric() && !super::words::is_mark(c)));
        for (index, question) in found.iter().enumerate() {
            let span = question.span.start as usize..question.span.end as usize;
            prop_assert!(!span.is_empty() && text.get(span).is_some(), "{:?}", question.span);
            prop_assert_eq!(question.ordinal as usize, index + 1);
            prop_assert!((0.0..=1.0).contains(&question.confidence));
            prop_assert!(question.alternatives.iter().all(|other| other.confidence <= question.confidence));
            prop_assert_eq!(question.topic.is_empty(), question.group.is_empty());
            if question.kind != Kind::Spam {
                let sure = question.confidence >= REVIEW_BELOW;
                prop_assert_eq!(question.decision, if sure { Decision::Auto } else { Decision::Review });
            }
        }
        let spans: Vec<u32> = found.iter().map(|question| question.span.start).collect();
        prop_assert!(spans.is_sorted(), "{:?}", spans);
        // The same text, the same answer.
        prop_assert_eq!(classified(&text), found);
    }
}
