import stat

from tallystick_cli.stack import durable


def test_a_created_file_is_private_and_never_rewritten(tmp_path):
    path = tmp_path / "key"
    assert durable.create_once(path, b"first") == b"first"
    assert durable.create_once(path, b"second") == b"first"
    assert path.read_bytes() == b"first"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_replacing_leaves_only_the_new_content_and_no_temporary_file(tmp_path):
    path = tmp_path / "state"
    durable.replace(path, b"one")
    durable.replace(path, b"two", mode=durable.PUBLIC)
    assert [each.name for each in tmp_path.iterdir()] == ["state"]
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
