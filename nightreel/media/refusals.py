"""Explain why a file is not a decodable video: text, an image, a lost index, encryption, a damaged container.

Called by `inspection`, `demuxing` and `images`, in the sandbox: before a file is opened, when ffmpeg's demuxers refuse
it, and when they find no frames in it. `signatures`, `mp4_boxes`, `ebml` and `encryption` read the file; this module
says what they find.
"""

from __future__ import annotations

from nightreel.errors import PermanentError
from nightreel.media import ebml, signatures
from nightreel.media.encryption import is_encrypted
from nightreel.media.media_file import MediaFile
from nightreel.media.mp4_boxes import Mp4Outline
from nightreel.reasons import Reason

_HEAD_BYTES = 2**16
_TEXT_BYTES = 4096
_JPEG_BYTES = 32 * 2**20  # three of the largest photos


def refuse_by_content(file: MediaFile, *, gif: bool) -> None:
    """Raise if the first bytes show that the file is not a video.

    Args:
        gif: whether a GIF is accepted as a video.

    Raises:
        PermanentError: `empty_file`, `not_a_video`, `image_file`, `animated_image`, `no_video_stream`.
    """
    with file.open() as reader:
        head = reader.read(_HEAD_BYTES)
    if not head:
        raise PermanentError(Reason.EMPTY_FILE, f"{file.name} has 0 bytes: upload it again")
    if head[:6] in (b"GIF87a", b"GIF89a") and not gif:
        detail = "is a GIF, an image format: set NIGHTREEL_GIF=true to analyse GIFs as videos"
        raise PermanentError(Reason.ANIMATED_IMAGE, f"{file.name} {detail}")
    if image := image_in(file):
        raise PermanentError(Reason.IMAGE_FILE, f"{file.name} holds {image}, not a video")
    sound = "a WAV sound file" if head[:4] == b"RIFF" and head[8:12] == b"WAVE" else None
    if sound := sound or signatures.found_in(signatures.SOUNDS, head):
        raise PermanentError(Reason.NO_VIDEO_STREAM, f"{file.name} holds {sound}, not a video")
    if other := signatures.found_in(signatures.OTHERS, head) or signatures.text_of(head[:_TEXT_BYTES]):
        raise PermanentError(Reason.NOT_A_VIDEO, f"{file.name} holds {other}, not a video")


def image_in(file: MediaFile) -> str | None:
    """What kind of still image a file holds, by its content; None if it holds none. GIFs are not among them."""
    with file.open() as reader:
        head = reader.read(_HEAD_BYTES)
        if head.startswith(signatures.JPEG):
            reader.seek(0)
            return None if signatures.is_raw_mjpeg(reader.read(_JPEG_BYTES)) else "a JPEG image"
        if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
            return "a WebP image"
        if image := signatures.found_in(signatures.IMAGES, head):
            return image
        outline = Mp4Outline(reader, file.size_bytes)
        if not outline.is_still_image:
            return None
        return "an AVIF image" if outline.is_avif else "a HEIF image (HEIC)"


def refuse_encrypted(file: MediaFile) -> None:
    """Raise if the container says that its video is encrypted.

    Raises:
        PermanentError: `encrypted`.
    """
    if is_encrypted(file):
        raise PermanentError(Reason.ENCRYPTED, f"{file.name} is encrypted (DRM): upload an unencrypted version")


def explain_refusal(file: MediaFile, demuxer_says: str) -> PermanentError:
    """The error that explains why no demuxer accepted `file`, or why a demuxer found no streams in it.

    Returns:
        `encrypted`, `init_segment_missing`, `no_index`, `not_a_video` or `unreadable`.
    """
    size_bytes = file.size_bytes
    with file.open() as reader:
        head = reader.read(_HEAD_BYTES)
        mp4 = Mp4Outline(reader, size_bytes)
        matroska = ebml.MatroskaOutline(reader, size_bytes)
    if mp4.is_media_segment or matroska.is_media_segment or head.startswith(ebml.MEDIA_SEGMENT_MAGIC):
        return _init_segment_missing(file, "moov" if mp4.boxes else "EBML header and tracks")
    if mp4.boxes and not mp4.has_index:
        cut = mp4.cut_off
        where = f": its {cut.name} box should end at byte {cut.end}, the file ends at {size_bytes}" if cut else ""
        return PermanentError(Reason.NO_INDEX, f"{file.name} has no index (moov){where}: repeat the upload")
    try:
        refuse_encrypted(file)
    except PermanentError as error:
        return error
    if mp4.cut_off and mp4.cut_off.kind == b"moov":
        return PermanentError(Reason.NO_INDEX, f"{file.name}: its index (moov) is cut off: repeat the upload")
    container = "MP4" if mp4.boxes else signatures.container_of(head)
    if container is None:
        return PermanentError(
            Reason.NOT_A_VIDEO, f"{file.name}: no container format recognised in its {size_bytes} bytes"
        )
    return PermanentError(
        Reason.UNREADABLE,
        f"{file.name} is a damaged {container} file, which ffmpeg cannot read ({demuxer_says}): repeat the upload, or "
        "repair the file",
    )


def explain_no_frames(file: MediaFile, *, promised_frames: int, promised_s: float) -> PermanentError:
    """The error that says what a container without any frame promises.

    Args:
        promised_frames: as the header of the video stream says; 0 where it says nothing.
        promised_s: duration as the header says; 0 where it says nothing.

    Returns:
        `media_data_missing` or `no_frames`.
    """
    with file.open() as reader:
        outline = Mp4Outline(reader, file.size_bytes)
        if outline.is_init_segment:
            what = "is the init segment of a fragmented MP4, without any media segment (moof)"
            return PermanentError(Reason.MEDIA_DATA_MISSING, f"{file.name} {what}: join it with its media segments")
    reason = Reason.MEDIA_DATA_MISSING if promised_frames else Reason.NO_FRAMES
    if promised_frames:
        promise = f"{promised_frames} frames"
    elif promised_s > 0:
        promise = f"{promised_s:.12g} s of video"
    else:
        promise = "a video stream"
    return PermanentError(reason, f"{file.name} promises {promise} but holds no frames: repeat the upload")


def _init_segment_missing(file: MediaFile, lost: str) -> PermanentError:
    return PermanentError(
        Reason.INIT_SEGMENT_MISSING,
        f"{file.name} is a media segment of a stream without its init segment ({lost}), which describes its tracks: "
        "put the init segment before it",
    )
