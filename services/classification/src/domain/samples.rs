//! A small pack for tests of the rules; what the shipped pack gives is tested in `golden`.

use otklik_chassis::region::Problems;

use super::{places::Places, taxonomy::Taxonomy};

pub(crate) const TAXONOMY: &str = r#"
phrase_gap = 2
[weights]
strong = 3.0
normal = 1.0
weak = 0.4
[[group]]
code = "waste"
title = "Отходы"
  [[group.topic]]
  code = "waste.overflow"
  title = "Переполненные контейнеры"
  official_code = "0005.0005.0056.1160"
  strong = ["мусорные баки переполнены"]
  words = ["бак", "мусор"]
  weak = ["двор"]
  [[group.topic]]
  code = "waste.general"
  title = "Прочее об отходах"
  words = ["отходы"]
[[group]]
code = "water"
title = "Вода"
  [[group.topic]]
  code = "water.outage"
  title = "Нет воды"
  strong = ["нет воды", "лопнула труба"]
  words = ["вода", "водопровод"]
  [[group.topic]]
  code = "water.quality"
  title = "Качество воды"
  strong = ["ржавая вода"]
  words = ["ржавчина"]
  weak = ["вода"]
  [[group.topic]]
  code = "water.general"
  title = "Прочее о воде"
  words = ["водоканал"]
[[group]]
code = "roads"
title = "Дороги"
  [[group.topic]]
  code = "roads.potholes"
  title = "Ямы"
  strong = ["яма на дороге", "выбоина"]
  words = ["яма"]
  weak = ["дорога"]
  [[group.topic]]
  code = "roads.general"
  title = "Прочее о дорогах"
  words = ["трасса"]
[urgency]
emergency = ["оборванный провод", "нет воды + пожар"]
high = ["нет света"]
defused_by = ["учебная тревога"]
[kind]
spam = ["заработок без вложений"]
thanks = ["спасибо за"]
proposal = ["предлагаю"]
question = ["?", "подскажите"]
complaint = ["безобразие", "сколько можно"]
[separators]
cues = ["и еще", "также", "второй вопрос", "кроме того", "P.S."]
"#;

pub(crate) const PLACES: &str = r#"
street_words = ["улица", "ул", "улице"]
lower_after = ["в", "из"]
[[place]]
id = "primorye"
name = "Приморский край"
kind = "region"
forms = ["Приморье", "Приморский край"]
[[place]]
id = "vladivostok"
name = "Владивосток"
kind = "urban-okrug"
parent = "primorye"
forms = ["Владивосток", "Владивостоке"]
[[place]]
id = "vladivostok.leninsky"
name = "Ленинский район Владивостока"
kind = "city-district"
parent = "vladivostok"
forms = ["Ленинский район", "Ленинском районе"]
[[place]]
id = "artem"
name = "Артём"
kind = "urban-okrug"
parent = "primorye"
forms = ["Артем", "Артеме", "Артема"]
not_after = ["сергея"]
not_before = ["иванович"]
[[place]]
id = "ussuriysk"
name = "Уссурийск"
kind = "urban-okrug"
parent = "primorye"
forms = ["Уссурийск"]
[[place]]
id = "nakhodka"
name = "Находка"
kind = "urban-okrug"
parent = "primorye"
forms = ["Находка", "Находке"]
capital = true
[[place]]
id = "spassk-dalny"
name = "Спасск-Дальний"
kind = "urban-okrug"
parent = "primorye"
forms = ["Спасск-Дальний", "Спасск"]
[[place]]
id = "spassky"
name = "Спасский район"
kind = "district"
parent = "primorye"
forms = ["Спасский район"]
"#;

pub(crate) fn taxonomy() -> Taxonomy {
    let mut problems = Problems::new();
    let taxonomy = Taxonomy::parse(TAXONOMY, &mut problems);
    problems.finish().expect("the sample is sound");
    taxonomy.expect("the sample is sound")
}

pub(crate) fn places() -> Places {
    let mut problems = Problems::new();
    let places = Places::parse(PLACES, &mut problems);
    problems.finish().expect("the sample is sound");
    places.expect("the sample is sound")
}
