"""Whether a data directory is still in the machine that made it (checklist 1.25)."""

from pathlib import Path

import pytest

from pinode.card.board import FILE, HardwareRecord, read_hardware
from pinode.card.hardware import Hardware, Sameness, compare, decode, encode, is_serial, remembered

PI = Hardware(serials={"device_tree": "10000000a1b2c3d4"}, mac_addresses=frozenset({"dc:a6:32:00:00:01"}))
OTHER_PI = Hardware(
    serials={"device_tree": "10000000ffff0001"}, mac_addresses=frozenset({"dc:a6:32:00:00:02"})
)
STICK = "00:e0:4c:00:00:09"


def machine(folder: Path, *, serial: str = "", dmi: dict[str, str] | None = None) -> tuple[Path, Path]:
    """`/sys` and `/proc` of a machine."""
    system, processes = folder / "sys", folder / "proc"
    for name, text in (dmi or {}).items():
        file = system / "class/dmi/id" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    if serial:
        (processes / "device-tree").mkdir(parents=True)
        (processes / "device-tree/serial-number").write_bytes(serial.encode() + b"\0")
    return system, processes


def add_interface(system: Path, name: str, address: str, *, kind: str = "0", is_real: bool = True) -> None:
    folder = system / "class/net" / name
    (folder / "device" if is_real else folder).mkdir(parents=True)
    (folder / "address").write_text(address + "\n")
    (folder / "addr_assign_type").write_text(kind + "\n")


@pytest.mark.parametrize(
    ("recorded", "seen", "expected"),
    [
        (PI, PI, Sameness.SAME),
        (PI, OTHER_PI, Sameness.OTHER),
        (PI, Hardware(serials=PI.serials), Sameness.SAME),
        (PI, Hardware(serials=PI.serials, mac_addresses=frozenset({STICK})), Sameness.SAME),
        (PI, Hardware(serials=OTHER_PI.serials, mac_addresses=PI.mac_addresses), Sameness.OTHER),
        (PI, Hardware(), Sameness.UNKNOWN),
        (Hardware(), PI, Sameness.UNKNOWN),
        (PI, Hardware(mac_addresses=PI.mac_addresses | {STICK}), Sameness.SAME),
        (PI, Hardware(mac_addresses=OTHER_PI.mac_addresses), Sameness.OTHER),
        (
            Hardware(serials={"product_uuid": "old", "board_serial": "b1"}),
            Hardware(serials={"product_uuid": "new", "board_serial": "b1"}),
            Sameness.SAME,
        ),
        (
            Hardware(serials={"product_uuid": "a"}, mac_addresses=frozenset({STICK})),
            Hardware(serials={"board_serial": "b"}),
            Sameness.UNKNOWN,
        ),
    ],
    ids=[
        "the same machine",
        "another Pi",
        "its network cards are off",
        "another network card",
        "a network stick that moved along with the card",
        "nothing can be read",
        "nothing was recorded",
        "only network cards can be read, one is new",
        "only other network cards can be read",
        "an update of the firmware changed one number",
        "nothing in common to compare",
    ],
)
def test_a_machine_is_known_by_its_serial_numbers_else_by_its_network_cards(
    recorded: Hardware, seen: Hardware, expected: Sameness
) -> None:
    assert compare(recorded, seen) is expected


@pytest.mark.parametrize(
    "text", ["", "0", "00000000", "To Be Filled By O.E.M.", "Default string", "ffffffff-ffff", "none", " - "]
)
def test_what_makers_leave_in_place_of_a_serial_number_tells_no_machine(text: str) -> None:
    assert not is_serial(text)


def test_a_pi_is_read_from_its_device_tree(tmp_path: Path) -> None:
    system, processes = machine(tmp_path, serial="10000000A1B2C3D4")
    add_interface(system, "eth0", "DC:A6:32:00:00:01")

    assert read_hardware(system, processes) == PI


def test_a_computer_is_read_from_its_firmware_without_numbers_that_are_none(tmp_path: Path) -> None:
    system, processes = machine(
        tmp_path,
        dmi={"product_uuid": "4C4C4544-0042", "board_serial": "Default string", "product_serial": "0"},
    )

    assert read_hardware(system, processes) == Hardware(serials={"product_uuid": "4c4c4544-0042"})


def test_only_addresses_that_network_cards_were_built_with_count(tmp_path: Path) -> None:
    system, processes = machine(tmp_path)
    add_interface(system, "lo", "00:00:00:00:00:00", is_real=False)
    add_interface(system, "docker0", "02:42:00:00:00:01", is_real=False)
    add_interface(system, "wlan0", "3e:00:00:00:00:01", kind="3")  # drawn by a network manager
    add_interface(system, "usb0", "3e:00:00:00:00:02", kind="1")
    add_interface(system, "eth1", "52:54:00:00:00:01")  # given by a hypervisor
    add_interface(system, "eth0", "dc:a6:32:00:00:01")

    assert read_hardware(system, processes).mac_addresses == {"dc:a6:32:00:00:01"}


def test_a_machine_that_tells_nothing_is_unknown_not_other(tmp_path: Path) -> None:
    record = HardwareRecord(tmp_path)
    record.keep(PI)

    assert record.compare(read_hardware(tmp_path / "no", tmp_path / "thing")) is Sameness.UNKNOWN


def test_the_record_is_written_once_and_forgets_nothing_that_another_user_cannot_see(tmp_path: Path) -> None:
    record = HardwareRecord(tmp_path)
    assert record.compare(PI) is Sameness.UNKNOWN
    record.keep(PI)
    written = (tmp_path / FILE).stat().st_ino

    record.keep(PI)
    record.keep(Hardware(mac_addresses=PI.mac_addresses))

    assert (tmp_path / FILE).stat().st_ino == written
    assert record.read() == PI


def test_a_network_card_that_was_replaced_beside_a_known_serial_is_recorded() -> None:
    seen = Hardware(serials=PI.serials, mac_addresses=frozenset({STICK}))

    assert remembered(PI, seen) == seen


def test_after_a_move_nothing_of_the_old_machine_is_recorded(tmp_path: Path) -> None:
    record = HardwareRecord(tmp_path)
    record.keep(Hardware(serials={**PI.serials, "board_serial": "b1"}))

    record.keep(OTHER_PI)

    assert record.read() == OTHER_PI


@pytest.mark.parametrize("damaged", [b"", b"[]", b'{"version": 9}', b'{"version": 1, "serials": 3}', b"\xff"])
def test_a_damaged_record_claims_nothing(tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / FILE).write_bytes(damaged)

    assert decode(damaged) is None
    assert HardwareRecord(tmp_path).compare(PI) is Sameness.UNKNOWN


def test_a_record_comes_back_from_its_bytes() -> None:
    assert decode(encode(PI)) == PI
