//! Compiles the contracts without protoc, and generates from their options what Rust code needs beside the types: the
//! permission table, `Debug` that keeps personal data to itself, and the names of events.

use std::{
    env,
    error::Error,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor, Value};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=otklik");

    let out = PathBuf::from(env::var("OUT_DIR")?);
    let files = proto_files(Path::new("otklik"))?;

    // Comments become rustdoc and go into the types; the descriptors for reflection do without them.
    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_imports(true).include_source_info(true).open_files(&files)?;
    let commented = compiler.file_descriptor_set();
    compiler.include_source_info(false);
    fs::write(out.join("otklik.binpb"), compiler.encode_file_descriptor_set())?;
    let pool = compiler.descriptor_pool();

    let redacted: Vec<_> =
        own_messages(&pool).filter(|message| message.fields().any(|field| is_redacted(&field))).collect();
    let redacted_paths: Vec<_> = redacted.iter().map(|message| format!(".{}", message.full_name())).collect();
    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names().skip_debug(&redacted_paths).bytes([".otklik.ledger.v1"]);
    tonic_prost_build::configure().compile_fds_with_config(commented, config)?;

    fs::write(out.join("redacted_debug.rs"), redacted_debug(&redacted)?)?;
    fs::write(out.join("permissions.rs"), permissions(&pool)?)?;
    fs::write(out.join("events.rs"), events(&pool)?)?;
    Ok(())
}

/// All `.proto` files under a folder, sorted.
fn proto_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.append(&mut proto_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The messages of the suite; not those of the imports, and not the entries of maps.
fn own_messages(pool: &DescriptorPool) -> impl Iterator<Item = MessageDescriptor> + '_ {
    pool.all_messages().filter(|message| message.full_name().starts_with("otklik.") && !message.is_map_entry())
}

fn is_redacted(field: &FieldDescriptor) -> bool {
    field.options().get_field_by_name("debug_redact").is_some_and(|value| value.as_bool() == Some(true))
}

/// Path of a message within this crate: `otklik.intake.v1.Author` is `crate::intake::v1::Author`.
fn rust_path(message: &MessageDescriptor) -> Result<String> {
    let path = message.full_name().strip_prefix("otklik.").ok_or("not a message of the suite")?;
    if message.parent_message().is_some() {
        return Err(format!("{}: nested messages are not used in these contracts", message.full_name()).into());
    }
    Ok(format!("crate::{}", path.replace('.', "::")))
}

/// `Debug` for messages with fields that may hold personal data or text.
fn redacted_debug(messages: &[MessageDescriptor]) -> Result<String> {
    let mut code = String::new();
    for message in messages {
        let path = rust_path(message)?;
        writeln!(code, "impl ::core::fmt::Debug for {path} {{")?;
        writeln!(code, "    fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {{")?;
        writeln!(code, "        f.debug_struct({:?})", message.name())?;
        for field in message.fields() {
            if field.containing_oneof().is_some() {
                return Err(
                    format!("{}: a message with redacted fields must not have a oneof", field.full_name()).into()
                );
            }
            let name = field.name();
            let value = if is_redacted(&field) {
                "&::core::format_args!(\"[redacted]\")".to_owned()
            } else if matches!(field.kind(), Kind::Enum(_)) && !field.is_list() {
                format!("&self.{name}()")
            } else {
                format!("&self.{name}")
            };
            writeln!(code, "            .field({name:?}, {value})")?;
        }
        writeln!(code, "            .finish()\n    }}\n}}")?;
    }
    Ok(code)
}

/// The table of permissions, sorted by path.
fn permissions(pool: &DescriptorPool) -> Result<String> {
    let mut methods: Vec<MethodDescriptor> = pool
        .services()
        .filter(|service| service.full_name().starts_with("otklik."))
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        .collect();
    methods.sort_by_key(method_path);

    let extension = pool
        .get_extension_by_name("otklik.options.v1.required_permission")
        .ok_or("the option required_permission is missing")?;
    let mut code = String::from(
        "/// Every method of the suite with the permission it requires, sorted by path.\n\
         pub const PERMISSIONS: &[MethodPermission] = &[\n",
    );
    for method in &methods {
        let options = method.options();
        if !options.has_extension(&extension) {
            return Err(format!("{} requires no permission: state one", method.full_name()).into());
        }
        let permission = options.get_extension(&extension);
        let permission = permission.as_message().ok_or("required_permission is a message")?;
        let name =
            permission.get_field_by_name("name").and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default();
        let roles = permission
            .get_field_by_name("roles")
            .map(|roles| role_paths(pool, &roles))
            .transpose()?
            .unwrap_or_default();
        if name.is_empty() || roles.is_empty() {
            return Err(format!("{}: a permission needs a name and roles", method.full_name()).into());
        }
        writeln!(
            code,
            "    MethodPermission {{ path: {:?}, permission: {name:?}, roles: &[{}], effect: Effect::{} }},",
            method_path(method),
            roles.join(", "),
            effect(method)?,
        )?;
    }
    code.push_str("];\n");
    Ok(code)
}

fn method_path(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}

fn role_paths(pool: &DescriptorPool, roles: &Value) -> Result<Vec<String>> {
    let role = pool.get_enum_by_name("otklik.options.v1.Role").ok_or("the enum Role is missing")?;
    let numbers = roles.as_list().ok_or("roles is a list")?.iter().filter_map(Value::as_enum_number);
    numbers
        .map(|number| {
            let value = role.get_value(number).ok_or("unknown role")?;
            Ok(format!("Role::{}", upper_camel(value.name().trim_start_matches("ROLE_"))))
        })
        .collect()
}

/// What the standard option `idempotency_level` says of a method.
fn effect(method: &MethodDescriptor) -> Result<&'static str> {
    let level = method.options().get_field_by_name("idempotency_level").and_then(|level| level.as_enum_number());
    match level {
        Some(1) => Ok("Read"),
        Some(2) => Ok("ChangeByOwnKey"),
        Some(0) | None => Ok("ChangeByRequestId"),
        Some(other) => Err(format!("{}: unknown idempotency level {other}", method.full_name()).into()),
    }
}

/// `EventType` for every message of an `events.proto`, and the list of their names.
fn events(pool: &DescriptorPool) -> Result<String> {
    let mut names = String::new();
    let mut code = String::new();
    for message in own_messages(pool).filter(|message| message.parent_file().name().ends_with("/events.proto")) {
        writeln!(names, "    {:?},", message.full_name())?;
        writeln!(
            code,
            "impl EventType for {} {{\n    const TYPE: &'static str = {:?};\n}}",
            rust_path(&message)?,
            message.full_name()
        )?;
    }
    writeln!(code, "/// Full names of all events of the suite.\npub const EVENT_TYPES: &[&str] = &[\n{names}];")?;
    Ok(code)
}

fn upper_camel(name: &str) -> String {
    name.split('_')
        .map(|word| {
            let (first, rest) = word.split_at(word.len().min(1));
            first.to_ascii_uppercase() + &rest.to_ascii_lowercase()
        })
        .collect()
}
