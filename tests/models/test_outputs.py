"""Outputs behave like transformers' ModelOutput."""

import pytest
import torch
import transformers

from perpixel.models.outputs import BackboneOutput, BaseModelOutputWithPooling, ImageMattingOutput

A, B, C = torch.ones(1), torch.zeros(2), (torch.ones(3),)


@pytest.mark.parametrize(
    "values",
    [
        {"last_hidden_state": A},
        {"last_hidden_state": A, "pooler_output": B},
        {"last_hidden_state": A, "attentions": C},
        {"last_hidden_state": A, "pooler_output": B, "hidden_states": C, "attentions": C},
    ],
)
def test_the_same_as_transformers(values):
    ours = BaseModelOutputWithPooling(**values)
    theirs = transformers.modeling_outputs.BaseModelOutputWithPooling(**values)
    assert list(ours.keys()) == list(theirs.keys())
    assert len(ours) == len(theirs)
    for one, other in zip(ours.values(), theirs.values(), strict=True):
        assert one is other
    for index in range(len(theirs)):
        assert ours[index] is theirs[index]
    assert ours[:2] == theirs[:2]
    assert ours[-1] is theirs[-1]
    assert ours.to_tuple() == theirs.to_tuple()
    for name in values:
        assert ours[name] is getattr(ours, name) is theirs[name]
    assert ours.get("nothing") is theirs.get("nothing") is None
    assert dict(ours.items()).keys() == dict(theirs.items()).keys()


def test_a_loss_comes_first_only_where_there_is_one():
    assert ImageMattingOutput(alphas=A)[0] is A
    output = ImageMattingOutput(loss=B, alphas=A)
    assert output[0] is B
    loss, alphas = output[:2]
    assert loss is B
    assert alphas is A


def test_absent_fields_and_wrong_names():
    output = BackboneOutput(feature_maps=C)
    assert output.attentions is None
    assert "attentions" not in output
    with pytest.raises(KeyError):
        output["attentions"]
    with pytest.raises(KeyError):
        output["feature_map"] = C
    with pytest.raises(IndexError):
        output[1]
    output["attentions"] = C
    assert output.attentions is C
    assert len(output) == 2
