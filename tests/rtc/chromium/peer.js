// One end of a connection, as a web page has it: `new Peer()`; the tests call its methods from outside.
//
// A message crosses to the tests as a string: "t" and the text, or "b" and the bytes in base64.

function decoded(coded) {
  const body = coded.slice(1);
  return coded[0] === "t" ? body : Uint8Array.fromBase64(body);
}

function coded(message) {
  return typeof message === "string" ? "t" + message : "b" + new Uint8Array(message).toBase64();
}

async function digest(bytes) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}

// A promise of an event, or at once of what it would tell.
function reached(target, event, isSo) {
  return new Promise((resolve) => {
    const look = () => {
      if (isSo()) {
        target.removeEventListener(event, look);
        resolve();
      }
    };
    target.addEventListener(event, look);
    look();
  });
}

class Peer extends EventTarget {
  constructor(configuration = {}) {
    super();
    this.pc = new RTCPeerConnection(configuration);
    this.channels = {};
    this.messages = {};
    this.pc.addEventListener("datachannel", ({ channel }) => this.take(channel));
    this.pc.addEventListener("track", ({ track }) => this.show(track));
    this.pictures = 0;
  }

  // Signaling: whole descriptions, all candidates in them.

  async describe() {
    await this.pc.setLocalDescription();
    await reached(this.pc, "icegatheringstatechange", () => this.pc.iceGatheringState === "complete");
    const { type, sdp } = this.pc.localDescription;
    return { type, sdp };
  }

  async take_description(description) {
    await this.pc.setRemoteDescription(description);
  }

  async connection_state(...wanted) {
    await reached(this.pc, "connectionstatechange", () => wanted.includes(this.pc.connectionState));
    return this.pc.connectionState;
  }

  async transport_closed() {
    const { transport } = this.pc.sctp;
    await reached(transport, "statechange", () => transport.state === "closed");
  }

  // Channels, by label

  take(channel) {
    const { label } = channel;
    channel.binaryType = "arraybuffer";
    this.channels[label] = channel;
    this.messages[label] = [];
    channel.addEventListener("message", ({ data }) => {
      this.messages[label].push(data);
      this.dispatchEvent(new Event("changed"));
    });
    this.dispatchEvent(new Event("changed"));
  }

  create(label, options) {
    this.take(this.pc.createDataChannel(label, options));
  }

  async channel(label) {
    await reached(this, "changed", () => label in this.channels);
    return this.channels[label];
  }

  async about(label) {
    const { id, protocol, ordered, maxRetransmits, maxPacketLifeTime, negotiated } =
      await this.channel(label);
    return { id, protocol, ordered, maxRetransmits, maxPacketLifeTime, negotiated };
  }

  async opened(label) {
    const channel = await this.channel(label);
    await reached(channel, "open", () => channel.readyState === "open");
  }

  async closed(label) {
    const channel = await this.channel(label);
    await reached(channel, "close", () => channel.readyState === "closed");
  }

  close(label) {
    this.channels[label].close();
  }

  // Messages

  send(label, messages) {
    for (const message of messages) this.channels[label].send(decoded(message));
  }

  async received(label, count) {
    await reached(this, "changed", () => (this.messages[label] ?? []).length >= count);
    return this.messages[label].map(coded);
  }

  refuses(label, size) {
    try {
      this.channels[label].send(new Uint8Array(size));
    } catch (error) {
      return error.name;
    }
    return "";
  }

  async drained(label) {
    const channel = this.channels[label];
    channel.bufferedAmountLowThreshold = 0;
    await reached(channel, "bufferedamountlow", () => channel.bufferedAmount === 0);
  }

  // Bulk: `size` random bytes in messages of 64 KiB; both ends tell the digest of them all.

  async send_bulk(label, size, message = 65536, highWater = 1 << 20) {
    const channel = this.channels[label];
    const bytes = new Uint8Array(size);
    channel.bufferedAmountLowThreshold = highWater / 4;
    for (let at = 0; at < size; at += message) {
      const part = bytes.subarray(at, at + message);
      crypto.getRandomValues(part);
      if (channel.bufferedAmount > highWater) {
        await reached(channel, "bufferedamountlow", () => channel.bufferedAmount < highWater);
      }
      channel.send(part);
    }
    return digest(bytes);
  }

  async receive_bulk(label, size) {
    await this.channel(label);
    const total = () => this.messages[label].reduce((sum, data) => sum + data.byteLength, 0);
    await reached(this, "changed", () => total() >= size);
    const taken = this.messages[label].splice(0);
    return digest(await new Blob(taken).arrayBuffer());
  }

  // Media: a camera and a microphone that Chromium makes up; what comes is shown and heard.

  async call() {
    const stream = await navigator.mediaDevices.getUserMedia({
      audio: true,
      video: { width: 160, height: 120 },
    });
    for (const track of stream.getTracks()) this.pc.addTrack(track, stream);
  }

  async show(track) {
    const player = document.createElement(track.kind);
    player.srcObject = new MediaStream([track]);
    document.body.append(player);
    if (track.kind === "video") {
      const shown = () => {
        this.pictures += 1;
        this.dispatchEvent(new Event("changed"));
        player.requestVideoFrameCallback(shown);
      };
      player.requestVideoFrameCallback(shown);
    }
    await player.play();
  }

  async heard() {
    const sounds = (await this.stats()).filter(({ type, kind }) => type === "inbound-rtp" && kind === "audio");
    return sounds.reduce((sum, { packetsReceived }) => sum + packetsReceived, 0);
  }

  async shows(count) {
    const sounds = count + (await this.heard());
    do {
      const pictures = this.pictures + count;
      await reached(this, "changed", () => this.pictures >= pictures);
    } while ((await this.heard()) < sounds);
  }

  async stats() {
    return [...(await this.pc.getStats()).values()];
  }
}
