"""Each layout in small, with the real files' names, columns, order of columns, codes and known bad rows.

Every function fills a folder and returns it. Pictures are those of `miniatures`, so that a network can learn them.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from .miniatures import COLOURS, picture

ISIC2018_COLUMNS = ("image", "MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
ISIC2019_COLUMNS = ("image", "MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK")
PAD_COLUMNS = (
    "patient_id", "lesion_id", "smoke", "drink", "background_father", "background_mother", "age", "pesticide", "gender",
    "skin_cancer_history", "cancer_history", "has_piped_water", "has_sewage_system", "fitspatrick", "region",
    "diameter_1", "diameter_2", "diagnostic", "itch", "grew", "hurt", "changed", "bleed", "elevation", "img_id",
    "biopsed",
)  # fmt: skip
ISIC2024_COLUMNS = (
    "isic_id", "target", "patient_id", "age_approx", "sex", "anatom_site_general", "clin_size_long_diam_mm",
    "image_type", "tbp_tile_type", "tbp_lv_A", "tbp_lv_z", "attribution", "copyright_license", "lesion_id",
    "iddx_full", "iddx_1", "iddx_2", "iddx_3", "iddx_4", "iddx_5", "mel_mitotic_index", "mel_thick_mm",
    "tbp_lv_dnn_lesion_confidence",
)  # fmt: skip
HAM_COLUMNS = ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization")

# The colour that stands for a code that is not HAM10000's.
_LIKE = {"ak": "akiec", "ack": "akiec", "scc": "bkl", "sek": "bkl", "nev": "nv", "1": "mel", "0": "nv", "": "df"}


def draw(path: Path, code: str, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(_LIKE.get(code, code), seed).save(path)


def write(path: Path, columns, rows, separator: str = ",", quoting: int = csv.QUOTE_MINIMAL) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter=separator, quoting=quoting)
        writer.writerow(columns)
        writer.writerows(rows)
    return path


def ham10000_dataverse(folder: Path, separator: str = ",", lesions: int = 4, test: bool = True) -> Path:
    """Age blank and 0, sex and place "unknown"; a test part with lesions of its own and one row without an image.

    With tabs it is as Dataverse's own .tab files are: text in quotes, the test part's ground truth a .tab too.
    """
    rows: list[tuple[str, ...]] = []
    for code in COLOURS:
        for lesion in range(lesions):
            for _ in range(1 + lesion % 2):
                number = 24306 + len(rows)
                image_id = f"ISIC_00{number}"
                draw(folder / f"HAM10000_images_part_{1 + number % 2}" / f"{image_id}.jpg", code, number)
                kind = "histo" if code in ("mel", "bcc", "akiec") else "follow_up"
                rows.append((f"HAM_{code}_{lesion}", image_id, code, kind, "55.0", "male", "back", "vidir_modern"))
    rows[0] = (*rows[0][:4], "", "unknown", "unknown", "rosendahl")
    rows[1] = (*rows[1][:4], "0.0", *rows[1][5:])
    quoting = csv.QUOTE_NONNUMERIC if separator == "\t" else csv.QUOTE_MINIMAL
    write(folder / "HAM10000_metadata", (*HAM_COLUMNS, "dataset"), rows, separator, quoting)
    if test:
        rows = [("", "ISIC_0035068", "nv", "", "", "", "", "")]  # in the real file too, and no image of it
        for number, code in enumerate([*COLOURS] * 2, 34524):
            draw(folder / "ISIC2018_Task3_Test_Images" / f"ISIC_00{number}.jpg", code, number)
            rows.append((f"HAMTEST_{number}", f"ISIC_00{number}", code, "histo", "40.0", "female", "hand", "rosendahl"))
        name = "ISIC2018_Task3_Test_GroundTruth" + (".tab" if separator == "\t" else ".csv")
        write(folder / name, (*HAM_COLUMNS, "dataset"), rows, separator, quoting)
    return folder


def _one_hot(columns, image_id: str, code: str, one: str, zero: str) -> tuple[str, ...]:
    return (image_id, *(one if column.lower() == code else zero for column in columns[1:]))


def isic2018_task3(folder: Path, lesions: int = 4) -> Path:
    """As the archives unpack: folders for each part's images and its ground truth; lesions of training only."""
    groupings: list[tuple[str, ...]] = []
    number = 24306
    for part, count in (("Training", lesions), ("Validation", 1), ("Test", 2)):
        rows: list[tuple[str, ...]] = []
        for code in COLOURS:
            for lesion in range(count):
                for _ in range(1 + (part == "Training") * (lesion % 2)):
                    image_id, number = f"ISIC_00{number}", number + 1
                    draw(folder / f"ISIC2018_Task3_{part}_Input" / f"{image_id}.jpg", code, number)
                    rows.append(_one_hot(ISIC2018_COLUMNS, image_id, code, "1.0", "0.0"))
                    if part == "Training":
                        groupings.append((image_id, f"HAM_{code}_{lesion}", "histopathology"))
        name = f"ISIC2018_Task3_{part}_GroundTruth"
        write(folder / name / f"{name}.csv", ISIC2018_COLUMNS, rows)
    columns = ("image", "lesion_id", "diagnosis_confirm_type")
    write(folder / "ISIC2018_Task3_Training_LesionGroupings.csv", columns, groupings)
    return folder


def isic2019(folder: Path, lesions: int = 4) -> Path:
    """The first picture of each class has a name in _downsampled, no lesion_id and no metadata at all."""
    truth: list[tuple[str, ...]] = []
    metadata: list[tuple[str, ...]] = []
    for code in ("mel", "nv", "bcc", "ak", "bkl", "df", "vasc", "scc"):
        for lesion in range(lesions):
            for _ in range(1 + lesion % 2):
                bare = lesion == 0
                image_id = f"ISIC_{len(truth):07d}" + ("_downsampled" if bare else "")
                draw(folder / "ISIC_2019_Training_Input" / f"{image_id}.jpg", code, len(truth))
                truth.append(_one_hot(ISIC2019_COLUMNS, image_id, code, "1.0", "0.0"))
                known = ("", "", "", "") if bare else ("55", "anterior torso", f"BCN_{code}{lesion}", "female")
                metadata.append((image_id, *known))
    write(folder / "ISIC_2019_Training_GroundTruth.csv", ISIC2019_COLUMNS, truth)
    columns = ("image", "age_approx", "anatom_site_general", "lesion_id", "sex")
    write(folder / "ISIC_2019_Training_Metadata.csv", columns, metadata)
    return folder


def isic2020(folder: Path, version: str = "", patients: int = 8) -> Path:
    """Every other patient has a melanoma; most diagnoses are "unknown"; a pair of duplicates of two patients."""
    rows: list[tuple[str, ...]] = []
    for patient in range(patients):
        for number in range(5):
            malignant = patient % 2 == 0 and number == 0
            diagnosis = "melanoma" if malignant else "nevus" if number == 1 else "unknown"
            image_name = f"ISIC_{100 * patient + number:07d}"
            draw(folder / "train" / f"{image_name}.jpg", str(int(malignant)), len(rows))
            site = "head/neck" if number else ""
            lesion = (f"IL_{len(rows):07d}",) if version else ()
            rows.append(
                (image_name, f"IP_{patient:07d}", *lesion, "male", "45", site, diagnosis)
                + (("malignant", "1") if malignant else ("benign", "0"))
            )
    columns = ("sex", "age_approx", "anatom_site_general_challenge", "diagnosis", "benign_malignant", "target")
    first = ("image_name", "patient_id", *(("lesion_id",) if version else ()))
    write(folder / f"ISIC_2020_Training_GroundTruth{version}.csv", (*first, *columns), rows)
    pairs = [("ISIC_0000003", "ISIC_0000503"), ("ISIC_0000104", "ISIC_9999999")]  # the second is of no row
    write(folder / "ISIC_2020_Training_Duplicates.csv", ("image_name_1", "image_name_2"), pairs)
    return folder


def isic2024(folder: Path, images: str = "hdf5", patients: int = 8) -> Path:
    """images: "hdf5", "folder" or "both". Malignant rows alone have a lesion_id and a diagnosis; one patient no age."""
    rows: list[tuple[str, ...]] = []
    contents: dict[str, bytes] = {}
    for patient in range(patients):
        for number in range(5):
            target = str(int(patient % 2 == 0 and number == 0))
            isic_id = f"ISIC_{10 * patient + number:07d}"
            buffer = io.BytesIO()
            picture(_LIKE[target], len(rows)).save(buffer, "JPEG")
            contents[isic_id] = buffer.getvalue()
            age = "" if patient == 1 else "65.0"
            lesion = f"IL_{len(rows):07d}"
            known = (lesion, "Malignant::Melanoma", "Malignant", *[""] * 5, "0.5") if target == "1" else ("",) * 9
            seen = ("male", "posterior torso", "3.16", "TBP tile: close-up", "3D: XP", "24.2", "-28.5")
            rows.append((isic_id, target, f"IP_{patient:07d}", age, *seen, "FNQH Cairns", "CC-BY", *known, "97.1"))
    write(folder / "train-metadata.csv", ISIC2024_COLUMNS, rows)
    if images in ("hdf5", "both"):
        import h5py

        with h5py.File(folder / "train-image.hdf5", "w") as file:
            for isic_id, content in contents.items():
                file.create_dataset(isic_id, data=np.void(content))
    if images in ("folder", "both"):
        target_folder = folder / "train-image" / "image"
        target_folder.mkdir(parents=True)
        for isic_id, content in contents.items():
            (target_folder / f"{isic_id}.jpg").write_bytes(content)
    return folder


# (diagnosis_1, _2, _3, _4), the older wording, its benign_malignant, the code here
ISIC_DIAGNOSES = (
    (("Benign", "Benign melanocytic proliferations", "Nevus", "Nevus, NOS, Junctional"), "nevus", "benign", "nv"),
    (("Malignant", "Malignant melanocytic proliferations (Melanoma)", "Melanoma in situ", "Melanoma in situ, Acral"),
     "melanoma", "malignant", "mel"),
    (("Malignant", "Malignant adnexal epithelial proliferations - Follicular", "Basal cell carcinoma", ""),
     "basal cell carcinoma", "malignant", "bcc"),
    (("Indeterminate", "Indeterminate epidermal proliferations", "Solar or actinic keratosis", ""),
     "actinic keratosis", "indeterminate", "ak"),
    (("Benign", "Benign soft tissue proliferations - Vascular", "", ""), "vascular lesion", "benign", "vasc"),
)  # fmt: skip


def isic_cli(folder: Path, older: bool = False, patients: int = 4) -> Path:
    """One patient's second picture does not name the patient; a scar and a blank diagnosis; names end in .JPG."""
    columns = ["isic_id", "attribution", "copyright_license", "age_approx", "anatom_site_general"]
    columns += (
        ["benign_malignant", "diagnosis"] if older else ["diagnosis_1", "diagnosis_2", "diagnosis_3", "diagnosis_4"]
    )
    columns += ["image_type", "lesion_id", "patient_id", "sex", "clin_size_long_diam_mm"]
    rows: list[tuple[str, ...]] = []

    def add(levels, wording, side, code, lesion, patient):
        image_id = f"ISIC_{len(rows) + 50000:07d}"
        draw(folder / f"{image_id}.JPG", code, len(rows))
        said = (side, wording) if older else levels
        rows.append(
            (image_id, "anonymous", "CC-BY", "35", "palms/soles", *said, "dermoscopic", lesion, patient, "male", "4.5")
        )

    for levels, wording, side, code in ISIC_DIAGNOSES:
        for patient in range(patients):
            add(levels, wording, side, code, f"IL_{code}{patient}", f"IP_{code}{patient}")
            add(levels, wording, side, code, f"IL_{code}{patient}", "" if patient == 0 else f"IP_{code}{patient}")
    add(("Benign", "Benign soft tissue proliferations - Fibro-histiocytic", "Scar", ""), "scar", "benign", "df", "", "")
    add(("", "", "", ""), "", "", "df", "", "")
    write(folder / "metadata.csv", columns, rows)
    return folder


def pad_ufes_20(folder: Path, patients: int = 4) -> Path:
    """Capital letters, img_id with .png, booleans True, False, UNK and blank, a row with little; nested folders.

    Each patient's two lesions are numbered 1 and 2, as all patients' are.
    """
    rows: list[tuple[str, ...]] = []
    for code in ("BCC", "SCC", "ACK", "SEK", "MEL", "NEV"):
        for patient in range(patients):
            for lesion in (1, 2):
                patient_id = f"PAT_{code}{patient}"
                img_id = f"{patient_id}_{lesion}_{len(rows)}.png"
                draw(folder / "images" / f"imgs_part_{1 + len(rows) % 3}" / img_id, code.lower(), len(rows))
                cancer = code in ("BCC", "SCC", "MEL")
                person = (
                    "False",
                    "True",
                    "POMERANIA",
                    "POMERANIA",
                    "55",
                    "",
                    "FEMALE",
                    "True",
                    "True",
                    "True",
                    "False",
                )
                symptoms = ("True", "UNK", "False", "UNK", "", "True")
                place = ("3.0", "NECK", "5.0", "6.0")
                rows.append((patient_id, str(lesion), *person, *place, code, *symptoms, img_id, str(cancer)))
    blank = list(rows[0])
    for name in ("smoke", "drink", "background_father", "gender", "fitspatrick", "diameter_1", "diameter_2"):
        blank[PAD_COLUMNS.index(name)] = ""
    rows[0] = tuple(blank)
    write(folder / "metadata.csv", PAD_COLUMNS, rows)
    return folder


def parts_of_class_folders(folder: Path, parts=("train", "val", "test"), codes=("mel", "nv"), images: int = 4) -> Path:
    for part_number, part in enumerate(parts):
        for code in codes:
            for number in range(images):
                draw(folder / part / code / f"{number}.jpg", code, 10 * part_number + number)
    return folder


def plain_csv(folder: Path, groups: int = 4) -> Path:
    """Own names of columns and classes, separated by semicolons; pictures by path, by name and by id."""
    rows: list[tuple[str, ...]] = []
    for label, code in (("wart", "bkl"), ("mole", "nv"), ("tumour", "mel")):
        for group in range(groups):
            for number in range(2):
                name = f"{label}_{group}_{number}"
                draw(folder / "photos" / f"{name}.jpg", code, len(rows))
                said = (f"photos/{name}.jpg", f"{name}.jpg", name)[len(rows) % 3]
                rows.append((said, label, f"{label}{group}", str(30 + group)))
    write(folder / "own.csv", ("file", "finding", "person", "age"), rows, ";")
    return folder
