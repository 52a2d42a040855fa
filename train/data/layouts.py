"""The layouts in which people have labelled lesion pictures. One layout is one function.

Each function looks at what is given and returns None where the layout is another one, or a `Dataset`. Columns are
matched by name, never by position. Each docstring opens with the layout's files and says where its columns are
documented.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from ...benchmarks.inputs import class_folders as folders
from ...benchmarks.inputs.columns import PATH_LABEL_GROUP, Columns
from ...benchmarks.inputs.locate import folder_of, located
from ...benchmarks.stats import group_kinds
from ...edge_runtime.errors import DataError, UnknownNameError, UsageError
from ...edge_runtime.labels import HAM10000, ISIC2019, ISIC_DIAGNOSES, PAD_UFES_20, Label, label_for
from ...edge_runtime.wording import counted
from . import further
from . import layout_tables as tables
from .further import Further
from .layout_tables import find_table, finished, read_table
from .named_groups import groups_of

_HAM_CODES = tuple(label.code for label in HAM10000)
_HAM_COLUMNS = {"age": "age", "sex": "sex", "localization": "site"}

# Listed in the ground truth of HAM10000's test part without any metadata, but not in the archive of its images.
_NEVER_PUBLISHED = "ISIC_0035068"

_LOST_ENDING = "_downsampled"  # of ISIC 2019


@dataclass(frozen=True)
class Given:
    """What a layout looks at.

    Attributes:
        root: The folder.
        table: The csv, where DATA is a csv and not a folder.
        images: The folder in which the pictures are, where it is another one (--images).
    """

    root: Path
    table: Path | None = None
    columns: Columns = PATH_LABEL_GROUP
    images: Path | None = None

    @property
    def pictures(self) -> Path:
        """The folder below which pictures are looked for by id."""
        return self.images or self.root


@dataclass(frozen=True)
class Dataset:
    """Labelled pictures.

    frame: one row per picture:
      path        text, absolute, or "file.hdf5::member" (`edge_runtime/containers.py`), or "" where it is missing
      image_id    text, once each
      group       text: pictures that must stay together in a split: the patient, else the lesion, else the picture
      group_kind  text, of `benchmarks/stats/group_kinds.KINDS`: what `group` is, "unknown" where nobody names one
      label       text: the diagnosis' code; "" where the data set names none
      patient, lesion, image_type      text, "" where not known
      age         float64, years; NaN where blank; 0 is what the file says
      sex, site   text in lower case as in the file ("unknown" too), "" where blank
      diameter_mm float64, the longest; NaN where blank
      malignant   "1", "0" or "": the data set's own target
      picture_set text, "" but in the csv of a run: which of several pictures of its image one is (`further.py`)
      official    "train", "val", "test" or "": the part that the data set's makers put it in
    labels: in the order of the model's classes; those of the diagnoses that are in the layout's table.
    has_groups: False where nobody names a patient, lesion or group; every picture is then its own group.
    notes: a line each for the person who reads the data.
    passed_over: path -> why, of pictures that the layout saw and does not use (`inventory.py` finds the others).
    tables: the files it was read from. images: the folder of the pictures, where that was said (--images).
    left_out: the images of each class that was left out on demand (`tasks.without_classes`).
    further: what other folders hold of its images (--also); `further.joined` makes rows of it, which are not in frame.
    """

    root: Path
    layout: str
    frame: pd.DataFrame
    labels: tuple[Label, ...]
    has_groups: bool
    notes: tuple[str, ...] = field(default=())
    passed_over: Mapping[str, str] = field(default_factory=dict[str, str])
    tables: tuple[Path, ...] = ()
    images: Path | None = None
    left_out: Mapping[str, int] = field(default_factory=dict[str, int])
    further: tuple[Further, ...] = ()

    @property
    def has_official_parts(self) -> bool:
        return bool((self.frame["official"] == "test").any())

    def split_kind(self, wanted: str) -> str:
        """What a split is where nobody names one and a recipe wants `wanted` (of `splits.KINDS`).

        Folders train and test mean what they say; the parts of a challenge are another data set's test part.
        """
        own = self.layout == "class-folders" and {"train", "test"} <= set(self.frame["official"])
        return "official" if own and wanted == "lesion" else wanted


def read_dataset(
    data: str | Path,
    layout: str | None = None,
    columns: Columns = PATH_LABEL_GROUP,
    images: str | Path | None = None,
    group_from: str | None = None,
    prefer: str | None = None,
    also: Sequence[str | Path] = (),
) -> Dataset:
    """Recognises the layout, or takes the one that is named, and reads it.

    Args:
        data: A folder, or the csv of the layouts isic-cli and csv.
        layout: One of LAYOUTS; None recognises it.
        columns: Of a plain csv; naming any makes it one.
        images: The folder in which the pictures are that a table names, where it is another one
            (benchmarks/inputs/locate.py).
        group_from: What gives the pictures their groups where the data names none (`named_groups.py`).
        prefer: The layout that is taken where several fit.
        also: Folders with further pictures of the same images (`further.found`).

    Raises:
        UsageError: Where there is no such folder, or `images` is given and the pictures are in class folders.
        UnknownNameError: For a layout that does not exist.
        DataError: Where no layout fits (the message names the known ones) or several do, a column is missing, a label
            is not in the layout's table, an id occurs twice, a name fits several pictures, or no picture is there.
            Both also as `further.found`.
    """
    data = Path(data)
    if layout is not None and layout not in LAYOUTS:
        raise UnknownNameError("layout", layout, LAYOUTS)
    if not data.exists():
        raise UsageError(f"no such folder: {data}")
    if columns != PATH_LABEL_GROUP:
        if layout not in (None, "csv"):
            raise UsageError(f"--image-column, --label-column and --group-column are for layout csv, not {layout}")
        layout = "csv"
    if images is not None:
        images = Path(images).resolve()
        if not images.is_dir():
            raise UsageError(f"--images {images}: no such folder")
    if data.is_dir():
        given, first, then = Given(data.resolve(), None, columns, images), _TABLES, _FALLBACKS
    elif data.suffix.lower() in (".csv", ".tsv", ".tab", ".txt"):
        given, first, then = Given(data.resolve().parent, data.resolve(), columns, images), ("isic-cli",), ("csv",)
    else:
        raise UsageError(f"{data} is a file: DATA is a folder, or a csv of pictures and labels")
    if layout:
        if layout not in first + then:
            raise UsageError(f"{data} is a file, and layout {layout} is a folder")
        first, then = (layout,), ()
    found = [dataset for name in first if (dataset := LAYOUTS[name](given)) is not None]
    if len(found) > 1:
        found = [dataset for dataset in found if dataset.layout == prefer] or found
    if len(found) > 1:
        fitting = ", ".join(dataset.layout for dataset in found)
        raise DataError(f"{data} fits several layouts ({fitting}): choose one with --layout")
    for name in then:
        if not found and (dataset := LAYOUTS[name](given)) is not None:
            found = [dataset]
    if found:
        dataset = found[0] if group_from is None else with_groups(found[0], group_from)
        more, notes = further.found(
            dataset.frame, also, str(data), _LOST_ENDING if dataset.layout == "isic2019" else ""
        )
        return replace(dataset, further=more, notes=(*dataset.notes, *notes))
    if layout:
        raise DataError(f"{data} is not in layout {layout}: {_files_of(LAYOUTS[layout])}")
    known = "; ".join(_files_of(read) for read in LAYOUTS.values())
    raise DataError(f"{data} is in no layout that is known. Known: {known}")


def with_groups(dataset: Dataset, group_from: str) -> Dataset:
    """The data set with the groups of --group-from. Raises what `named_groups.groups_of` raises; UsageError where the
    data names groups itself."""
    if dataset.has_groups:
        raise UsageError(f"--group-from is for data without groups, and {dataset.root} ({dataset.layout}) names some")
    groups, notes = groups_of(dataset.frame, dataset.root, group_from)
    frame = dataset.frame.assign(**{column: groups[column] for column in groups})
    return replace(dataset, frame=frame, has_groups=True, notes=(*dataset.notes, *notes))


def _files_of(read: Callable[[Given], Dataset | None]) -> str:
    return " ".join((read.__doc__ or "").split("\n\n")[0].split()).rstrip(".")


def ham10000_kaggle(given: Given) -> Dataset | None:
    """HAM10000 (Kaggle): HAM10000_metadata.csv beside HAM10000_images_part_1/ and _part_2/, or one image folder.

    lesion_id,image_id,dx,dx_type,age,sex,localization: kaggle.com/datasets/kmader/skin-cancer-mnist-ham10000
    """
    table = given.root / "HAM10000_metadata.csv"
    return _ham10000(given, "ham10000-kaggle", table, None) if table.is_file() else None


def ham10000_dataverse(given: Given) -> Dataset | None:
    """HAM10000 (Dataverse): HAM10000_metadata without .csv, the two image folders, ISIC2018_Task3_Test_Images/ and
    ISIC2018_Task3_Test_GroundTruth.csv.

    lesion_id,image_id,dx,dx_type,age,sex,localization,dataset, in the test part's ground truth too (Dataverse also
    hands both out as .tab, separated by tabs): doi:10.7910/DVN/DBW86T. The ground truth as the challenge published it
    (image,MEL,NV,...) is read as well. The test part is the official one; its lesion ids (HAMTEST_...) are its own.
    """
    table = find_table(given.root, "HAM10000_metadata", "HAM10000_metadata.tab")
    test = find_table(given.root, *(f"ISIC2018_Task3_Test_GroundTruth{suffix}" for suffix in (".csv", ".tab", "")))
    return _ham10000(given, "ham10000-dataverse", table, test) if table else None


def _ham10000(given: Given, layout: str, table: Path, test: Path | None) -> Dataset:
    needed = {"lesion_id": "lesion", "image_id": "image_id", "dx": "label"}
    frame = read_table(table, needed, _HAM_COLUMNS)
    tables.check_labels(frame, "dx", _HAM_CODES, table)
    notes: list[str] = []
    if test:
        if "image" in tables.header(test):
            held_out = tables.one_hot(test, {code.upper(): code for code in _HAM_CODES})
        else:
            held_out = read_table(
                test, {"image_id": "image_id", "dx": "label"}, {"lesion_id": "lesion", **_HAM_COLUMNS}
            )
            tables.check_labels(held_out, "dx", _HAM_CODES, test)
        frame = pd.concat([frame.assign(official="train"), held_out.assign(official="test")]).fillna("")
    frame["path"] = tables.paths_by_id(frame["image_id"], given.pictures, table)
    never = (frame["image_id"] == _NEVER_PUBLISHED) & (frame["path"] == "")
    if never.any():
        frame = frame.loc[~never]
        notes.append(f"{_NEVER_PUBLISHED} of the test part is left out: its image was never published")
    return _dataset(given, layout, finished(frame, table), HAM10000, notes, read=(table, test))


def isic2018_task3(given: Given) -> Dataset | None:
    """ISIC 2018 Task 3: ISIC2018_Task3_{Training,Validation,Test}_GroundTruth and _Input, ..._LesionGroupings.csv.

    image,MEL,NV,BCC,AKIEC,BKL,DF,VASC (one-hot floats) and, for the training part alone, image,lesion_id,
    diagnosis_confirm_type: challenge.isic-archive.com/data/#2018
    """
    names = {"Training": "train", "Validation": "val", "Test": "test"}
    truths = {part: find_table(given.root, f"ISIC2018_Task3_{name}_GroundTruth.csv") for name, part in names.items()}
    training = truths["train"]
    if training is None:
        return None
    codes = {code.upper(): code for code in _HAM_CODES}
    frame = pd.concat([tables.one_hot(path, codes).assign(official=part) for part, path in truths.items() if path])
    groupings = find_table(given.root, "ISIC2018_Task3_Training_LesionGroupings.csv")
    if groupings:
        frame = tables.joined(frame, read_table(groupings, {"image": "image_id", "lesion_id": "lesion"}), groupings)
    if (frame["official"] == "train").all():
        frame["official"] = ""
    frame["path"] = tables.paths_by_id(frame["image_id"], given.pictures, training)
    return _dataset(given, "isic2018-task3", finished(frame, training), HAM10000, read=(*truths.values(), groupings))


def isic2019(given: Given) -> Dataset | None:
    """ISIC 2019: ISIC_2019_Training_GroundTruth.csv, ISIC_2019_Training_Metadata.csv, ISIC_2019_Training_Input/.

    image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK and image,age_approx,anatom_site_general,lesion_id,sex:
    challenge.isic-archive.com/data/#2019. 2,084 rows have no lesion_id: each is its own group. UNK is not a diagnosis.
    Some ids end in _downsampled, in both tables and in the files; a copy that lost the ending is found all the same.
    """
    truth = find_table(given.root, "ISIC_2019_Training_GroundTruth.csv")
    if truth is None:
        return None
    codes = {label.code.upper(): label.code for label in ISIC2019}
    frame = tables.one_hot(truth, {**codes, "UNK": ""})
    metadata = find_table(given.root, "ISIC_2019_Training_Metadata.csv")
    if metadata:
        optional = {"age_approx": "age", "anatom_site_general": "site", "lesion_id": "lesion", "sex": "sex"}
        frame = tables.joined(frame, read_table(metadata, {"image": "image_id"}, optional), metadata)
    frame["path"] = tables.paths_by_id(frame["image_id"], given.pictures, truth, lost_ending=_LOST_ENDING)
    return _dataset(given, "isic2019", finished(frame, truth), ISIC2019, read=(truth, metadata))


def isic2020(given: Given) -> Dataset | None:
    """ISIC 2020: ISIC_2020_Training_GroundTruth.csv or _v2.csv, ISIC_2020_Training_Duplicates.csv, train/*.jpg.

    image_name,patient_id,(v2: lesion_id,)sex,age_approx,anatom_site_general_challenge,diagnosis,benign_malignant,
    target and image_name_1,image_name_2: challenge.isic-archive.com/data/#2020. The diagnosis is "unknown" for 27,124
    of 33,126. Duplicates stay together, in one group with both patients' pictures.
    """
    table = find_table(given.root, "ISIC_2020_Training_GroundTruth_v2.csv", "ISIC_2020_Training_GroundTruth.csv")
    if table is None:
        return None
    frame = read_table(
        table,
        {"image_name": "image_id", "patient_id": "patient", "target": "malignant"},
        {
            "lesion_id": "lesion",
            "sex": "sex",
            "age_approx": "age",
            "anatom_site_general_challenge": "site",
            "diagnosis": "diagnosis",
        },
    )
    frame["malignant"] = tables.truth_of(frame["malignant"], _TARGET, "target", frame["image_id"], table)
    diagnosis = frame["diagnosis"].str.lower() if "diagnosis" in frame else pd.Series("", frame.index)
    frame["label"] = diagnosis.map(ISIC_DIAGNOSES).fillna(diagnosis).replace("unknown", "")
    duplicates = find_table(given.root, "ISIC_2020_Training_Duplicates.csv")
    pairs: list[tuple[str, str]] = []
    if duplicates:
        two = read_table(duplicates, {"image_name_1": "one", "image_name_2": "other"}, may_be_empty=True)
        there = two.isin(list(frame["image_id"])).all(axis=1)
        pairs = list(zip(two["one"][there], two["other"][there], strict=True))
    frame["path"] = tables.paths_by_id(frame["image_id"], given.pictures, table)
    notes = (
        [f"{counted(len(pairs), 'pair of duplicates is', 'pairs of duplicates are')} kept together"] if pairs else []
    )
    return _dataset(given, "isic2020", finished(frame, table, pairs=pairs), ISIC2019, notes, read=(table, duplicates))


def isic2024(given: Given) -> Dataset | None:
    """ISIC 2024 (SLICE-3D): train-metadata.csv with train-image.hdf5 or train-image/image/*.jpg.

    isic_id,target,patient_id,age_approx,sex,anatom_site_general,clin_size_long_diam_mm,image_type,tbp_...,lesion_id,
    iddx_...,mel_...: kaggle.com/competitions/isic-2024-challenge/data. 401,059 rows, 393 malignant; a target and no
    diagnosis. lesion_id is given to lesions of interest only, so that it says the target: it makes groups (within a
    patient's) and nothing else. The folder wins where both are there: its pictures need no h5py on the device.
    """
    table = find_table(given.root, "train-metadata.csv")
    if table is None:
        return None
    frame = read_table(
        table,
        {"isic_id": "image_id", "target": "malignant", "patient_id": "patient"},
        {
            "age_approx": "age",
            "sex": "sex",
            "anatom_site_general": "site",
            "clin_size_long_diam_mm": "diameter_mm",
            "image_type": "image_type",
            "lesion_id": "lesion",
        },
    )
    frame["malignant"] = tables.truth_of(frame["malignant"], _TARGET, "target", frame["image_id"], table)
    container = given.pictures / "train-image.hdf5"
    folder = given.pictures / "train-image"
    if folder.is_dir() or not container.is_file():
        frame["path"] = tables.paths_by_id(frame["image_id"], folder if folder.is_dir() else given.pictures, table)
    else:
        frame["path"] = tables.members_by_id(frame["image_id"], container)
    frame["label"] = ""
    return _dataset(given, "isic2024", finished(frame, table), (), read=(table,))


def isic_cli(given: Given) -> Dataset | None:
    """isic-cli export: one csv (metadata.csv) with isic_id and diagnosis_1..5, or diagnosis, and its images.

    isic_id,patient_id,age_approx,sex,lesion_id,clin_size_long_diam_mm,anatom_site_general,diagnosis_1..diagnosis_5,
    image_type,... (older: diagnosis,benign_malignant): github.com/ImageMarkup/isic-cli and isic_metadata. What is
    always blank in an export has no column. The label is the deepest diagnosis that ISIC_DIAGNOSES knows, else the
    diagnosis' own words, which are not classes unless --labels makes them one. "Indeterminate" is not a target.
    """
    candidates = [given.table] if given.table else sorted(given.root.glob("*.csv"))
    fitting = [table for table in candidates if is_isic_export(_columns_of(table))]
    if not fitting:
        return None
    if len(fitting) > 1:
        raise DataError(f"{given.root} holds {len(fitting)} exports of isic-cli: name one, such as {fitting[0]}")
    table = fitting[0]
    levels = [f"diagnosis_{level}" for level in range(1, 6)]
    old = ["diagnosis", "benign_malignant"]
    frame = read_table(
        table,
        {"isic_id": "image_id"},
        {
            "patient_id": "patient",
            "lesion_id": "lesion",
            "age_approx": "age",
            "sex": "sex",
            "anatom_site_general": "site",
            "clin_size_long_diam_mm": "diameter_mm",
            "image_type": "image_type",
            **{name: name for name in [*levels, *old]},
        },
    )
    said = {name: frame[name].str.strip().str.lower() for name in [*levels, *old] if name in frame}
    blank = pd.Series("", frame.index)
    code, words = blank, blank
    for name in ("diagnosis", *levels[1:]):
        text = said.get(name, blank)
        words = words.where((text == "") | (name in levels[3:]), text)  # diagnosis_3 is the usual depth
        code = text.map(ISIC_DIAGNOSES).fillna(code)
    frame["label"] = code.where(code != "", words.replace("unknown", ""))
    target = said.get("diagnosis_1", blank).map(_ISIC_TARGET).fillna("")
    older = said.get("benign_malignant", blank).map(_ISIC_TARGET).fillna("")
    frame["malignant"] = target.where(target != "", older)
    frame["path"] = tables.paths_by_id(frame["image_id"], given.pictures, table)
    return _dataset(given, "isic-cli", finished(frame, table), ISIC2019, read=(table,))


def _columns_of(table: Path) -> list[str]:
    """Its header, none where it cannot be read: any csv may be beside the data."""
    try:
        return tables.header(table)
    except DataError:
        return []


def is_isic_export(columns: list[str]) -> bool:
    """Whether a header is that of an export of isic-cli."""
    return "isic_id" in columns and "target" not in columns and bool({"diagnosis_1", "diagnosis"} & set(columns))


def pad_ufes_20(given: Given) -> Dataset | None:
    """PAD-UFES-20: metadata.csv with img_id and diagnostic, imgs_part_1/ to imgs_part_3/ with *.png.

    patient_id,lesion_id,...,age,...,gender,...,fitspatrick,region,diameter_1,diameter_2,diagnostic,...,img_id,biopsed:
    doi:10.17632/zr7vgbcyr2.1. img_id carries .png. Its booleans (True, False, UNK or blank) describe the patient and
    are not read; biopsed says the label. A lesion_id is read as one of its patient. Six diagnoses, no target.
    """
    table = find_table(given.root, "metadata.csv")
    if table is None or not {"img_id", "diagnostic"} <= set(_columns_of(table)):
        return None
    frame = read_table(
        table,
        {"patient_id": "patient", "img_id": "image_id", "diagnostic": "label"},
        {
            "lesion_id": "lesion",
            "age": "age",
            "gender": "sex",
            "region": "site",
            "diameter_1": "diameter_1",
            "diameter_2": "diameter_2",
        },
    )
    codes = {label.code.upper(): label.code for label in PAD_UFES_20}
    tables.check_labels(frame, "diagnostic", codes, table)
    frame["label"] = frame["label"].map(codes)
    if "lesion" in frame:
        frame["lesion"] = (frame["patient"] + "_" + frame["lesion"]).where(frame["lesion"] != "", "")
    both = [
        tables.numbers(frame[name], name, frame["image_id"], table)
        for name in ("diameter_1", "diameter_2")
        if name in frame
    ]
    if both:
        frame["diameter_mm"] = pd.concat(both, axis=1).max(axis=1)
    stems = frame["image_id"].str.removesuffix(".png")
    frame["path"] = tables.paths_by_id(stems, given.pictures, table)
    return _dataset(given, "pad-ufes-20", finished(frame, table), PAD_UFES_20, read=(table,))


def plain_csv(given: Given) -> Dataset | None:
    """plain csv: a csv with the columns path and label (--image-column, --label-column, --group-column name others).

    path: a file, from the csv's folder or absolute, or a picture's name or id, which is looked for below that folder;
    benchmarks/inputs/locate.py has the rules.
    age, sex, site, patient, lesion, diameter_mm, image_type and malignant (1, 0 or blank) are read where they are.
    """
    found = [given.table] if given.table else sorted(given.root.glob("*.csv"))
    image, label, group = given.columns.image or "path", given.columns.label or "label", given.columns.group or "group"
    named = given.columns != PATH_LABEL_GROUP
    if len(found) != 1:
        if named:
            raise DataError(f"{given.root} holds {len(found)} csv files: give one of them as DATA")
        return None
    table = found[0]
    there = tables.header(table) if named or given.table else _columns_of(table)
    if not named and not {image, label} <= set(there):
        if given.table:
            columns = ", ".join(there)
            raise DataError(
                f"{table} has no columns path and label: name them with --image-column and --label-column; "
                f"found: {columns}"
            )
        return None
    needed = {image: "image_id", label: "label"}
    own = {name: name for name in tables.TEXTS + tables.NUMBERS if name in there and name not in (image, label, group)}
    if given.columns.group and group not in there:
        raise DataError(f"{table} has no column {group}; found: {', '.join(there)}")
    frame = read_table(table, needed, {**own, group: "group"})
    folders.check_labels(list(frame["label"]), f"{table}, column {label}")
    if "malignant" in frame:
        meaning = {**_TARGET, "": ""}
        frame["malignant"] = tables.truth_of(frame["malignant"], meaning, "malignant", frame["image_id"], table)
    tables.check_unique(frame["image_id"], table)
    frame["path"] = located(list(frame["image_id"]), folder_of(table), images=given.images, table=table)
    if not (frame["path"] != "").any():
        raise DataError(
            f"{table}: none of its {len(frame)} pictures is there, the first is {frame['image_id'].iloc[0]}: --images "
            "FOLDER says where they are now"
        )
    whole = finished(frame, table)
    labels = tuple(label_for(code) for code in sorted(whole["label"].unique()))
    return _dataset(given, "csv", whole, labels, read=(table,))


def class_folders(given: Given) -> Dataset | None:
    """class folders: one folder per label with its images, at any depth, or train/, val/ and test/ with such folders.

    benchmarks/inputs/class_folders.py has the rules.
    """
    found = folders.read(given.root)
    if not found.pictures:
        return None
    if given.images:
        raise UsageError(f"--images is for a table that names pictures; {given.root} has class folders")
    rows = [(one.path, one.name, one.label, one.part) for one in found.pictures]
    frame = finished(pd.DataFrame(rows, columns=["path", "image_id", "label", "official"]), given.root)
    labels = tuple(label_for(code) for code in sorted(frame["label"].unique()))
    whole = _dataset(given, "class-folders", frame, labels, found.notes)
    return replace(whole, passed_over=found.passed_over)


def _dataset(
    given: Given,
    layout: str,
    frame: pd.DataFrame,
    labels: tuple[Label, ...],
    notes: list[str] | None = None,
    *,
    read: Iterable[Path | None] = (),
) -> Dataset:
    present = set(frame["label"])
    has_groups = bool((frame["group_kind"] != group_kinds.UNKNOWN).any())
    return Dataset(
        given.root,
        layout,
        frame,
        tuple(label for label in labels if label.code in present),
        has_groups,
        tuple(notes or ()),
        tables=tuple(path for path in read if path),
        images=given.images,
    )


_TARGET = {"1": "1", "0": "0", "1.0": "1", "0.0": "0"}
_ISIC_TARGET = {"malignant": "1", "benign": "0"}

LAYOUTS: dict[str, Callable[[Given], Dataset | None]] = {
    "ham10000-kaggle": ham10000_kaggle,
    "ham10000-dataverse": ham10000_dataverse,
    "isic2018-task3": isic2018_task3,
    "isic2019": isic2019,
    "isic2020": isic2020,
    "isic2024": isic2024,
    "isic-cli": isic_cli,
    "pad-ufes-20": pad_ufes_20,
    "csv": plain_csv,
    "class-folders": class_folders,
}

# What almost any folder could be is tried last, in this order.
_FALLBACKS = ("csv", "class-folders")
_TABLES = tuple(name for name in LAYOUTS if name not in _FALLBACKS)
