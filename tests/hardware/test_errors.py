from hardware.errors import CatalogError, PlannerError, UnknownNameError, nearest_names, normalized


def test_an_error_without_hint_reads_as_its_message() -> None:
    assert str(PlannerError("the tank is empty")) == "the tank is empty"


def test_an_error_with_hint_reads_as_message_and_hint() -> None:
    error = PlannerError("the tank is empty", "fill it")
    assert (error.message, error.hint, str(error)) == (
        "the tank is empty",
        "fill it",
        "the tank is empty\nhint: fill it",
    )


def test_an_unknown_name_comes_with_the_names_that_start_with_it() -> None:
    error = UnknownNameError("GPU", "A100-40", ["A10", "A100-40GB-SXM", "A100-40GB-PCIe", "H100"])
    assert error.message == "unknown GPU 'A100-40'"
    assert error.hint == "did you mean A100-40GB-SXM, A100-40GB-PCIe?  (planner gpus lists all)"


def test_an_unknown_name_far_from_all_others_comes_with_the_command_that_lists_them() -> None:
    error = UnknownNameError("model", "zzz", ["llama-7b"])
    assert (error.message, error.hint) == ("unknown model 'zzz'", "planner models lists all")


def test_a_name_inside_another_is_nearer_than_a_similar_one() -> None:
    assert nearest_names("6000", ["RTX-5000-Ada", "RTX-6000-Ada", "600"]) == ("RTX-6000-Ada",)


def test_two_letters_find_the_names_that_start_with_them_alone() -> None:
    assert nearest_names("tp", ["outputs", "tokens-per-step"]) == ()
    assert nearest_names("ep", ["epochs", "steps"]) == ("epochs",)
    assert nearest_names("put", ["outputs"]) == ("outputs",)


def test_a_misspelled_name_finds_the_similar_one() -> None:
    assert nearest_names("memory_bites", ["name", "memory_bytes", "source"]) == ("memory_bytes",)


def test_nothing_is_near_when_nothing_is_known() -> None:
    assert nearest_names("A100", []) == ()


def test_case_dashes_underscores_and_spaces_do_not_count_in_names() -> None:
    assert normalized(" RTX_4090-Ti super") == "rtx4090tisuper"


def test_a_catalog_error_lists_every_problem() -> None:
    error = CatalogError(["a.yaml:1:2: gpus: wrong", "a.yaml:3:4: gpus.T4: worse"])
    assert error.problems == ["a.yaml:1:2: gpus: wrong", "a.yaml:3:4: gpus.T4: worse"]
    assert error.message == "2 problems in the GPU catalog\n  a.yaml:1:2: gpus: wrong\n  a.yaml:3:4: gpus.T4: worse"
    assert error.hint == "base: T4 takes what an entry leaves out from that of T4; planner gpus show T4 prints it"
