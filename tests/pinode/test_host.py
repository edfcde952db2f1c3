"""What a node says of the machine it runs on."""

import os
from ipaddress import ip_address
from pathlib import Path

import psutil
import pytest

from pinode.host import (
    HostSensors,
    board_model,
    default_node_name,
    default_route_address,
    own_addresses,
    reachable_address,
)


def write(file: Path, content: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)


def test_a_machine_without_sensors_is_measured_without_them(tmp_path: Path) -> None:
    sensors = HostSensors(tmp_path, system=tmp_path / "nothing")

    sample = sensors.sample(now=10.0)

    assert (sample.temperature_celsius, sample.throttled, sample.disk_written_bytes_per_hour) == (
        None,
        None,
        0,
    )
    assert sample.memory_bytes > 0
    assert 0 < sample.disk_percent <= 100 or sample.disk_free_bytes > 0
    assert set(sample.as_stats()) >= {"cpu_percent", "load_1m", "net_tx_bytes_per_s", "net_rx_bytes_per_s"}


@pytest.mark.parametrize(
    ("bits", "throttled"), [("0\n", False), ("50005\n", True), ("0x50000\n", False), ("4", True)]
)
def test_a_pi_says_how_hot_it_is_and_whether_it_is_throttled_now(
    tmp_path: Path, bits: str, throttled: bool
) -> None:
    write(tmp_path / "class/thermal/thermal_zone0/temp", "48312\n")
    write(tmp_path / "devices/platform/soc/soc:firmware/get_throttled", bits)

    sample = HostSensors(tmp_path, system=tmp_path).sample(now=0.0)

    assert (sample.temperature_celsius, sample.throttled) == (48.312, throttled)


def test_a_pi_whose_firmware_is_silent_still_tells_under_voltage(tmp_path: Path) -> None:
    write(tmp_path / "class/hwmon/hwmon1/name", "rpi_volt\n")
    write(tmp_path / "class/hwmon/hwmon1/in0_lcrit_alarm", "1\n")

    assert HostSensors(tmp_path, system=tmp_path).sample(now=0.0).throttled is True


def fake_proc(folder: Path, *, cpu: str, received: int = 0, sent: int = 0) -> Path:
    write(folder / "stat", f"cpu  {cpu}\ncpu0 {cpu}\n")
    write(
        folder / "meminfo", "MemTotal:        1000 kB\nMemFree:          100 kB\nMemAvailable:     600 kB\n"
    )
    zeros = " ".join(["0"] * 7)
    lines = [
        "Inter-|",
        " face |",
        f"    lo: 999 {zeros} 999 {zeros}",
        f"  eth0: {received} {zeros} {sent} {zeros}",
    ]
    write(folder / "net/dev", "\n".join([*lines, f" wlan0:10 {zeros} 20 {zeros}"]) + "\n")
    return folder


def test_cpu_memory_and_traffic_are_what_the_kernel_counts(tmp_path: Path) -> None:
    sensors = HostSensors(tmp_path, processes=fake_proc(tmp_path, cpu="100 0 50 800 50 0 0 0 30 0"))

    sensors.sample(now=0.0)
    fake_proc(tmp_path, cpu="130 0 60 840 70 0 0 0 60 0", received=4000, sent=1000)
    sample = sensors.sample(now=2.0)

    assert sample.cpu_percent == 40.0  # 40 of 100 ticks were neither idle nor waiting
    assert (sample.memory_bytes, sample.memory_percent) == (400 * 1024, 40.0)
    assert (sample.net_rx_bytes_per_s, sample.net_tx_bytes_per_s) == (2000.0, 500.0)


def test_a_second_look_in_the_same_moment_is_no_error(tmp_path: Path) -> None:
    sensors = HostSensors(tmp_path, processes=fake_proc(tmp_path, cpu="1 0 1 8 0 0 0 0 0 0"))

    samples = [sensors.sample(now=5.0) for _ in range(2)]

    assert {(one.cpu_percent, one.net_rx_bytes_per_s) for one in samples} == {(0.0, 0.0)}


def test_this_machine_is_measured_as_psutil_measures_it(tmp_path: Path) -> None:
    sample = HostSensors(tmp_path).sample(now=0.0)
    memory, disk = psutil.virtual_memory(), psutil.disk_usage(str(tmp_path))

    assert sample.memory_bytes == pytest.approx(memory.total - memory.available, rel=0.2)
    assert sample.disk_percent == pytest.approx(disk.percent, abs=1)
    assert sample.disk_free_bytes == pytest.approx(disk.free, rel=0.05)


def test_writes_are_those_of_the_last_hour(tmp_path: Path) -> None:
    device = os.stat(tmp_path).st_dev
    counters = tmp_path / f"dev/block/{os.major(device)}:{os.minor(device)}/stat"
    sensors = HostSensors(tmp_path, system=tmp_path)

    def written(sectors: int, now: float) -> int:
        write(counters, f"1 2 3 4 5 6 {sectors} 8 9 10 11\n")
        return sensors.sample(now).disk_written_bytes_per_hour

    first = written(1000, now=0.0)
    soon = written(1600, now=60.0)
    hour = [written(1600 + minute * 10, now=60.0 + minute * 60) for minute in range(1, 120)][-1]
    quiet = [written(2790, now=7200.0 + minute * 60) for minute in range(1, 70)][-1]

    assert first == 0
    assert soon == 600 * 512 * 6  # ten minutes are the least that is scaled up
    assert hour == 600 * 512
    assert quiet == 0


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("pi1", "pi1"),
        ("Kitchen.lan", "kitchen"),
        ("raspberrypi", "raspberrypi-0a1b"),
        ("localhost", "localhost-0a1b"),
        ("debian", "debian-0a1b"),
        ("__", "node-0a1b"),
        ("my_pi", "my-pi"),
    ],
)
def test_a_name_that_every_fresh_pi_has_is_made_its_own(host: str, name: str) -> None:
    assert default_node_name(host, "0A1b2c3d\n") == name


def test_the_address_others_dial_is_one_of_this_machine() -> None:
    address = default_route_address()

    assert ip_address(address).is_loopback or address in own_addresses()
    assert "127.0.0.1" in own_addresses()


def test_the_board_is_named_where_the_kernel_knows_it(tmp_path: Path) -> None:
    unknown = board_model(tmp_path)
    write(tmp_path / "firmware/devicetree/base/model", "Raspberry Pi 4 Model B Rev 1.4\0")

    assert (unknown, board_model(tmp_path)) == ("", "Raspberry Pi 4 Model B Rev 1.4")


def test_a_switch_without_a_router_still_gives_an_address_to_dial() -> None:
    assert reachable_address(["127.0.0.1", "::1", "fd00::7", "192.168.1.20", "10.0.0.5"]) == "10.0.0.5"
    assert reachable_address(["::1", "fd00::7"]) == "fd00::7"
    assert reachable_address(["127.0.0.1"]) == "127.0.0.1"
