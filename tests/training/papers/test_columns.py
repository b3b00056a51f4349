"""The network of columns."""

import torch

from plc_training.papers.represented import Columns


def test_a_column_depends_on_all_others_and_on_its_place() -> None:
    torch.manual_seed(0)
    network = Columns(6, 4, 8, 2)
    x = torch.randn(2, 9, 6, requires_grad=True)
    out = network(x)
    assert out.shape == (2, 9, 4)
    (slopes,) = torch.autograd.grad(out[0, 8].sum(), x)
    assert torch.all(slopes[0].abs().sum(1) > 0.0)
    assert not slopes[1].any()
    equal = network(torch.ones(1, 9, 6))[0]
    assert not torch.allclose(equal[3], equal[5])


def test_the_number_of_columns_is_free() -> None:
    network = Columns(3, 5, 8, 1)
    assert [network(torch.zeros(1, count, 3)).shape[1] for count in (1, 7, 64)] == [1, 7, 64]
