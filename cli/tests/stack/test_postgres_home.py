import os

import pytest
from tallystick_cli.stack import boot, control, postgres_home
from tallystick_cli.stack.errors import ServerNotInstalledError, StackError
from tallystick_cli.stack.layout import Layout

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root must become another user")


def test_a_folder_below_a_private_one_is_out_of_reach(tmp_path):
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    assert not postgres_home.everyone_reaches(private)
    assert postgres_home.everyone_reaches(postgres_home.REACHABLE_BY_ALL)


@as_root
def test_postgres_moves_out_of_a_private_folder_and_stays_where_it_went(tmp_path):
    (tmp_path / "home").mkdir(mode=0o700)
    layout = Layout.at(tmp_path / "home" / ".tally")
    layout.create()
    try:
        home = postgres_home.find(layout)
        assert postgres_home.everyone_reaches(home.folder)
        assert postgres_home.moved_to(layout) == home.folder
        assert postgres_home.find(layout) == home
    finally:
        control.erase(layout)
    assert not home.folder.exists()


@as_root
def test_binaries_that_others_cannot_reach_are_copied_and_work(layout, monkeypatch):
    monkeypatch.setattr(postgres_home, "everyone_reaches", lambda folder: folder == layout.postgres)
    servers = boot.prepare(layout)
    assert servers.postgres.home.binaries == layout.postgres / "pginstall" / "bin"
    assert (servers.postgres.home.data / "PG_VERSION").exists()


@as_root
def test_a_lost_folder_is_an_error_that_says_what_to_do(tmp_path):
    (tmp_path / "home").mkdir(mode=0o700)
    layout = Layout.at(tmp_path / "home" / ".tally")
    layout.create()
    folder = postgres_home.find(layout).folder
    folder.rmdir()
    with pytest.raises(StackError, match="is gone: restore it, or remove"):
        postgres_home.find(layout)


def _said(folder, sentence):
    program = folder / "postgres"
    program.write_text(f"#!/bin/sh\necho '{sentence}'\n")
    program.chmod(0o755)
    return folder


def test_another_postgres_is_taken_where_one_is_named(layout, tmp_path, monkeypatch):
    monkeypatch.setattr(postgres_home, "everyone_reaches", lambda _folder: True)
    named = _said(tmp_path, "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)")
    monkeypatch.setenv("TALLY_TEST_POSTGRES", str(named))
    home = postgres_home.find(layout)
    assert (home.binaries, home.version()) == (named, 15)


@pytest.mark.parametrize("sentence", ["postgres (PostgreSQL) 14.9", "something else"])
def test_a_postgres_that_is_too_old_or_none_is_refused_before_anything_is_made(layout, tmp_path, monkeypatch, sentence):
    monkeypatch.setenv("TALLY_TEST_POSTGRES", str(_said(tmp_path, sentence)))
    with pytest.raises(ServerNotInstalledError, match="needs Postgres 15 or newer"):
        postgres_home.find(layout)


def test_a_folder_without_a_postgres_is_named(layout, tmp_path, monkeypatch):
    monkeypatch.setenv("TALLY_TEST_POSTGRES", str(tmp_path / "nothing"))
    with pytest.raises(ServerNotInstalledError, match=r"no Postgres runs from .*nothing"):
        postgres_home.find(layout)
