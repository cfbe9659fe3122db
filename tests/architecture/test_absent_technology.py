"""What is not in the product cannot be attacked: interpreters, parsers, weak algorithms, file stores."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SERVER_ROOTS = [*ROOT.glob("libs/*/src"), *ROOT.glob("services/*/src")]
SOURCE_ROOTS = [*SERVER_ROOTS, ROOT / "cli/src"]
TEMPLATES = sorted(
    path for root in SOURCE_ROOTS for kind in ("html", "js", "css") for path in root.rglob(f"templates/*.{kind}")
)

# Parsers and stores of formats that we do not take in; Python's own way to load objects; code from elsewhere.
ABSENT = {
    *("xml", "lxml", "defusedxml", "xmlrpc", "ldap", "ldap3", "pymemcache", "memcache", "pylibmc", "graphql"),
    *("pickle", "marshal", "shelve", "dill", "cloudpickle", "jsonpickle", "code", "codeop", "pty", "telnetlib"),
    *("zipfile", "tarfile", "bz2", "lzma", "rarfile", "PIL", "imaplib", "poplib", "ftplib", "smtplib", "cgi"),
    *("yaml", "markdown", "bleach", "docutils", "wsproto", "websockets", "aiortc", "saml2", "onelogin"),
}
MAKES_CODE = re.compile(r"^(eval|exec|compile|__import__|os\.(system|popen))$")
SHELLS = {"create_subprocess_shell", "getoutput", "getstatusoutput", "from_string", "Markup"}
# Who computes anything secret or signed. `hashlib` and `hmac` are looked at by algorithm.
CRYPTOGRAPHY = {"nacl", "joserfc", "pyotp", "nkeys", "cryptography"}
OTHER_CRYPTOGRAPHY = {"Crypto", "Cryptodome", "rsa", "ecdsa", "jwt", "jose", "M2Crypto", "passlib", "oscrypto"}
WEAK = re.compile(r"\b(md[245]|sha1|ripemd\w*|ECB|DES|TripleDES|ARC[24]|RC[24]|Blowfish|PKCS1v15|SHA1|MD5)\b")
HASHES = {"sha256", "sha512", "digest", "new"}
FILE_SERVERS = {"StaticFilesConfig", "create_static_files_router", "StaticFiles", "UploadFile", "File", "FileResponse"}
# Who opens connections of its own: everybody else asks these.
CALLERS = {
    "tallystick_chassis/bus.py": "NATS, by the address in the settings",
    "tallystick_chassis/doctor.py": "the collector in the settings, to see that it listens",
    "tallystick_chassis/http/service_client.py": "the other services, by the addresses in the settings",
    "tallystick_ledger/high_water/objects.py": "the object store in the settings",
    "tallystick_identity/sign_in/mail.py": "the mail server in the settings",
    "tallystick_chassis/http/outbound.py": "what a tenant named (OpenID provider, SIEM), if it is public",
    "tallystick_ledger/siem/syslog.py": "a tenant's SIEM, at the address that outbound.py looked up",
}
CONNECTING = {"urlopen", "open_connection", "create_connection", "SMTP", "ClientSession"} | {
    "AsyncClient",
    "Client",
    "QuickClient",  # of NATS
    "AsyncHTTPTransport",  # which follows no redirect
    "HTTPTransport",
    "from_url",  # of an object store
}
INDEX = {"registry": "https://pypi.org/simple"}


def _modules(roots: list[Path]) -> Iterator[tuple[str, ast.Module]]:
    for root in roots:
        for path in sorted(root.rglob("*.py")):
            yield path.relative_to(root).as_posix(), _parsed(path)


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _imports(tree: ast.AST) -> set[str]:
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return {name.split(".")[0] for name in names}


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _is_constant(node: ast.AST) -> bool:
    """Say whether a text is made of literals, constants of its module and loops over them; no parameter, no value."""
    names = [part for part in ast.walk(node) if isinstance(part, ast.Name)]
    return not any(isinstance(part, ast.Call) for part in ast.walk(node)) and all(
        name.id.lstrip("_").isupper() for name in names
    )


def test_nothing_that_reads_what_we_do_not_take_in_is_imported():
    used = {name: _imports(tree) for name, tree in _modules(SOURCE_ROOTS)}
    assert len(used) > 150
    assert {name: found & ABSENT for name, found in used.items() if found & ABSENT} == {}


def test_no_code_and_no_command_line_is_made_of_text():
    wrong = [
        f"{name}:{call.lineno}"
        for name, tree in _modules(SOURCE_ROOTS)
        for call in _calls(tree)
        if MAKES_CODE.match(ast.unparse(call.func))
        or ast.unparse(call.func).rsplit(".", 1)[-1] in SHELLS
        or any(word.arg == "shell" for word in call.keywords)
    ]
    assert wrong == []


def test_no_service_starts_another_program():
    # The contracts' generator runs on developers' machines.
    starting = {name for name, tree in _modules(SERVER_ROOTS) if _imports(tree) & {"subprocess", "multiprocessing"}}
    assert starting == {"tallystick_contracts/generate.py"}


def test_no_pattern_and_no_format_is_made_of_input():
    wrong = []
    for name, tree in _modules(SERVER_ROOTS):
        if name.startswith("tallystick_contracts/generat"):
            continue  # runs on developers' machines, over the proto files
        for call in _calls(tree):
            function = ast.unparse(call.func)
            if re.fullmatch(r"re\.\w+", function) and not _is_constant(call.args[0]):
                wrong.append(f"{name}:{call.lineno} {function}")
            if isinstance(call.func, ast.Attribute) and call.func.attr in {"format", "format_map"}:
                subject = call.func.value
                if not _is_constant(subject) and ast.unparse(subject) != "msgspec.json":
                    wrong.append(f"{name}:{call.lineno} {function}")
    assert wrong == []


def test_every_statement_is_made_of_constants():
    # Put in are a service's own name; statements that services declare; conditions chosen from a list of columns.
    known = {
        "tallystick_chassis/migrate.py",
        "tallystick_chassis/revisions.py",
        "tallystick_chassis/state.py",
        "tallystick_ledger/search/store.py",
    }
    looked, wrong = 0, []
    for name, tree in _modules(SERVER_ROOTS):
        if name in known or "/migrations/" in name or "/key_migrations/" in name:
            continue
        for call in _calls(tree):
            if ast.unparse(call.func).rsplit(".", 1)[-1] == "text" and call.args:
                looked += 1
                if not _is_constant(call.args[0]):
                    wrong.append(f"{name}:{call.lineno} {ast.unparse(call.args[0])[:80]}")
    assert wrong == []
    assert looked > 100


def test_templates_escape_what_they_show_and_scripts_write_text_alone():
    unsafe = re.compile(
        r"\|\s*safe\b|autoescape|innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|"
        r"javascript:|\son\w+\s*=|srcdoc|__proto__|postMessage|<(iframe|object|embed|applet)\b"
    )
    assert len(TEMPLATES) >= 4
    assert {path.name: found for path in TEMPLATES if (found := unsafe.findall(path.read_text()))} == {}


def test_pages_keep_nothing_in_the_browser_and_load_nothing_from_elsewhere():
    keeping = re.compile(
        r"localStorage|sessionStorage|indexedDB|caches\.|serviceWorker|document\.cookie\s*=|(?:src|action)=[\"']?(?:https?:)?//"
    )
    assert {path.name: found for path in TEMPLATES if (found := keeping.findall(path.read_text()))} == {}


def test_password_fields_are_masked_and_nothing_hinders_password_managers_or_pasting():
    fields = [(path.name, field) for path in TEMPLATES for field in re.findall(r"<input\b[^>]*>", path.read_text())]
    passwords = [(name, field) for name, field in fields if "password" in field]
    assert passwords
    for name, field in passwords:
        assert 'type="password"' in field, name
        assert re.search(r'autocomplete="(current|new)-password"', field), name
    hindering = re.compile(r"paste|autocomplete=\"?off|readonly|keydown|beforeinput")
    assert {path.name: found for path in TEMPLATES if (found := hindering.findall(path.read_text()))} == {}


def test_cryptography_comes_from_named_libraries_and_no_weak_algorithm_is_named():
    wrong = []
    for name, tree in _modules(SOURCE_ROOTS):
        wrong += [f"{name}: {found}" for found in _imports(tree) & OTHER_CRYPTOGRAPHY]
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "hashlib" and node.attr not in HASHES:
                wrong.append(f"{name}:{node.lineno} hashlib.{node.attr}")
        if _imports(tree) & (CRYPTOGRAPHY | {"hashlib", "hmac"}):
            texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and node.value == "sha1"]
            wrong += [f"{name}: {text}" for text in texts]
            named = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
            wrong += [f"{name}: {one}" for one in named if WEAK.fullmatch(one)]
    assert wrong == []


def test_what_must_not_be_guessed_comes_from_the_systems_generator():
    # `random` is for the jitter of waits alone: every use stands in a call of sleep.
    jitter = {"tallystick_chassis/http/commands.py", "tallystick_chassis/http/service_client.py"}
    assert {name for name, tree in _modules(SERVER_ROOTS) if "random" in _imports(tree)} <= jitter
    for name, tree in _modules(SERVER_ROOTS):
        if name in jitter:
            drawn = [call for call in _calls(tree) if ast.unparse(call.func).startswith("random.")]
            asleep = [ast.unparse(call) for call in _calls(tree) if ast.unparse(call.func) == "asyncio.sleep"]
            assert all(any(ast.unparse(call) in sleep for sleep in asleep) for call in drawn), name


def test_no_service_serves_a_folder_or_takes_files_in():
    wrong = []
    for name, tree in _modules(SERVER_ROOTS):
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        wrong += [f"{name}: {one}" for one in used & FILE_SERVERS]
        wrong += [
            f"{name}: multipart" for node in ast.walk(tree) if ast.unparse(node) == "RequestEncodingType.MULTI_PART"
        ]
    assert wrong == []


def test_services_open_connections_in_named_places_and_follow_no_redirect():
    opening = {
        name: [call for call in _calls(tree) if ast.unparse(call.func).rsplit(".", 1)[-1] in CONNECTING]
        for name, tree in _modules(SERVER_ROOTS)
    }
    opening = {name: calls for name, calls in opening.items() if calls}
    assert set(opening) == set(CALLERS)
    for name, calls in opening.items():
        for call in calls:
            if ast.unparse(call.func) == "httpx.AsyncClient":
                given = {word.arg: ast.unparse(word.value) for word in call.keywords}
                assert (given["follow_redirects"], given["trust_env"]) == ("False", "False"), name
            if ast.unparse(call.func) == "httpx.AsyncHTTPTransport":
                assert {word.arg: ast.unparse(word.value) for word in call.keywords}["trust_env"] == "False", name


def test_no_answer_invites_other_origins():
    inviting = re.compile(r"CORSConfig|cors_config|access-control-", re.IGNORECASE)
    named = {name: found for name, tree in _modules(SERVER_ROOTS) if (found := inviting.findall(ast.unparse(tree)))}
    assert named == {}


def test_every_cookie_is_prefixed_and_secure_and_says_its_same_site():
    modules = dict(_modules(SERVER_ROOTS))
    constants = {
        target.id: node.value.value
        for tree in modules.values()
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    found = [
        (constants[name], {word.arg: ast.unparse(word.value) for word in call.keywords})
        for tree in modules.values()
        for call, name in _cookies(tree)
    ]
    assert len(found) >= 4
    for cookie, given in found:
        assert (given["secure"], given.get("domain")) == ("True", None), cookie
        assert given["samesite"] in {"'lax'", "'strict'"}, cookie
        assert (given["httponly"] == "True") == (cookie != "__Host-tally_csrf"), cookie
        # Only the refresh cookie has a path of its own, which rules the stricter prefix out (ADR 17).
        is_narrow = given["path"] != "'/'"
        assert is_narrow == (cookie == "__Secure-tally_refresh"), cookie
        assert is_narrow or cookie.startswith("__Host-"), cookie
    by_hand = re.compile(r"\.set_cookie\(|[\"']set-cookie[\"']", re.IGNORECASE)
    # A page hands on the cookies that its own service's routes have made.
    handing_on = {"tallystick_chassis/http/in_process.py"}
    assert {name for name, tree in modules.items() if by_hand.search(ast.unparse(tree))} == handing_on


def _cookies(tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    """Give each cookie that is made, with the constant that names it; a function may take the name from its callers."""
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        for call in (one for one in _calls(function) if ast.unparse(one.func) == "Cookie"):
            name = ast.unparse(call.args[0])
            if name not in {argument.arg for argument in function.args.args}:
                yield call, name
                continue
            for caller in _calls(tree):
                if ast.unparse(caller.func) == function.name:
                    yield call, ast.unparse(caller.args[0])


def test_every_third_party_package_is_locked_with_its_hash_from_one_index():
    packages = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    foreign = [package for package in packages if set(package["source"]) & {"registry", "url", "git"}]
    assert len(foreign) > 50
    for package in foreign:
        assert package["source"] == INDEX, package["name"]
        files = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
        assert files, package["name"]
        assert all(file["hash"].startswith("sha256:") for file in files), package["name"]


def test_no_secret_lies_in_the_repository():
    listed = subprocess.run(
        ["/usr/bin/env", "git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    secret = re.compile(
        rb"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY|\bSU[A-Z2-7]{56}\b|AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36}|"
        rb"PRIVATE\+KEY\+\w"
    )
    assert len(listed) > 300
    found = {
        name: match.group()[:40]
        for name in listed
        if (ROOT / name).is_file() and (match := secret.search((ROOT / name).read_bytes()))
    }
    assert {name: text for name, text in found.items() if "/tests/" not in f"/{name}"} == {}
    ignored = (ROOT / ".gitignore").read_text()
    assert ".tally" in ignored


def test_python_itself_is_one_that_is_maintained():
    assert sys.version_info[:2] == (3, 11)  # security fixes until October 2027; see "Components" in controls.md
