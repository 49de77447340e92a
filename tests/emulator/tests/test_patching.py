"""The changes of moto, in this process."""

import pytest

from emulator import patching


def fresh():
    class Moto:
        def size(self):
            return 1

        @property
        def state(self):
            return "on"

    return Moto


def test_patches_add_up():
    moto = fresh()

    @patching.patched(moto, "size")
    def replaced(_original, _self):
        return 10

    @patching.patched(moto, "size")
    def more(original, self):
        return original(self) + 1

    assert moto().size() == 11


@pytest.mark.parametrize("name", ["size", "state"])
def test_a_patch_that_would_undo_another_is_refused(name):
    moto = fresh()

    @patching.patched(moto, name)
    def checked(original, self):
        return original(self)

    with pytest.raises(patching.PatchError, match=f"replaces .*Moto.*{name}, which .*test_patching has patched"):

        @patching.patched(moto, name)
        def replaced(_original, _self):
            return None


def test_what_moto_lacks_or_has_learnt():
    moto = fresh()
    with pytest.raises(patching.PatchError, match="no length to patch"):
        patching.patched(moto, "length")(lambda original, self: 1)
    with pytest.raises(patching.PatchError, match="already has size"):
        patching.added(moto, "size")(lambda self: 1)
