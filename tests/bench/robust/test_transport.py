from plc_bench.robust.transport import cost, load


def test_what_a_relayed_packet_takes_is_timed_by_its_ends() -> None:
    result = cost(streams=2, seconds=0.3, loss=0.1, method="burg")
    assert 1.0 < result["receive_us"] < 5000.0
    assert 1.0 < result["send_us"] < 5000.0


def test_a_load_counts_what_was_sent_and_lost() -> None:
    result = load(streams=3, seconds=3.0, method="server")
    assert result["packets_sent"] > 100
    assert 0.01 < result["lost_share"] < 0.2
    assert 0.0 <= result["by_networks"] <= 1.0
