from perpixel.tasks.things import known_things


def labels(count, **names):
    return {number: names.get(f"_{number}", f"name {number}") for number in range(count)}


def test_the_known_data_sets():
    # How many things each has is in its own description: COCO 80, ADE20K 100, Cityscapes 8, Mapillary Vistas 37.
    coco = labels(133, _0="person", _79="toothbrush", _80="banner")
    ade = labels(150, _0="wall", _12="person", _149="flag")
    cityscapes = labels(19, _0="road", _11="person", _18="bicycle")
    vistas = labels(65, _0="Bird", _55="Car")
    assert [len(known_things(each)) for each in (coco, ade, cityscapes, vistas)] == [80, 100, 8, 37]
    assert 12 in known_things(ade) and 2 not in known_things(ade)


def test_other_labels_are_not_guessed():
    assert known_things(labels(133)) is None
    assert known_things(labels(150, _0="wall", _12="person")) is None
    assert known_things({}) is None
