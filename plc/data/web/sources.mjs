// Where the sound comes from: a bundled clip, a file, the microphone. What goes wrong is told in
// words that a reader can act on.

export const LARGEST_FILE_BYTES = 200e6;

// An error whose message is for the reader.
export class Refusal extends Error {}

const MICROPHONE = {
  NotAllowedError: "The microphone was refused. Allow it for this page (in most browsers: the sign " +
    "left of the address), then choose the microphone again.",
  NotFoundError: "No microphone was found. Connect one, then choose the microphone again.",
  NotReadableError: "The microphone cannot be opened. Another program may use it.",
};

// A source has a node, channels, a title, close(), and samples, if they are known beforehand.
export async function openMicrophone(context, onEnd) {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new Refusal("This browser lets no page from this address use a microphone. Open the page " +
      "from http://localhost, from https, or as a file.");
  }
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({
      audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false },
    });
  } catch (error) {
    throw new Refusal(MICROPHONE[error.name] ?? `The microphone cannot be opened: ${error.message}`);
  }
  const [track] = stream.getAudioTracks();
  track.addEventListener("ended", onEnd);
  const node = context.createMediaStreamSource(stream);
  return { node, channels: 1, title: "Microphone", close: () => track.stop() };
}

export async function openFile(context, file) {
  if (file.size > LARGEST_FILE_BYTES) {
    throw new Refusal(`${file.name} has ${Math.round(file.size / 1e6)} MB. The page takes files of ` +
      `up to ${LARGEST_FILE_BYTES / 1e6} MB, because it decodes them as a whole.`);
  }
  let bytes;
  try {
    bytes = await file.arrayBuffer();
  } catch {
    throw new Refusal(`${file.name} cannot be read. It may have been moved, or be a folder.`);
  }
  return openBytes(context, bytes, file.name);
}

export async function openBytes(context, bytes, title) {
  let buffer;
  try {
    buffer = await context.decodeAudioData(bytes);
  } catch {
    throw new Refusal(`${title} cannot be decoded. Browsers read WAV, FLAC, MP3, most Ogg and M4A ` +
      "files.");
  }
  const node = new AudioBufferSourceNode(context, { buffer, loop: true });
  node.start();
  return {
    node,
    channels: Math.min(2, buffer.numberOfChannels),
    title,
    close: () => node.stop(),
  };
}
