from sekisho.kernel.words import alternatives


def test_few_names_are_all_listed_and_of_many_the_nearest() -> None:
    assert alternatives("x", ["b", "a"]) == "a, b"
    many = [f"name{number}" for number in range(40)]
    assert alternatives("name39x", many).startswith("name39")
    assert alternatives("zzz", many).endswith("… (40 are known)")
