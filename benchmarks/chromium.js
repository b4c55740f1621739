// One end of a bare data channel in a web page: `new Raw(...)`; benchmarks.chromium calls its methods.

class Raw {
  constructor(size, message, highWater) {
    this.size = size;
    this.message = new Uint8Array(message).map((_, at) => at % 256);
    this.highWater = highWater;
    this.pc = new RTCPeerConnection();
    this.channel = this.pc.createDataChannel("raw", { negotiated: true, id: 1 });
    this.channel.binaryType = "arraybuffer";
    this.received = 0;
    this.done = new Promise((resolve) => (this.finish = resolve));
    this.open = new Promise((resolve) => (this.channel.onopen = resolve));
  }

  async describe() {
    const gathered = new Promise((resolve) => {
      this.pc.onicegatheringstatechange = () => this.pc.iceGatheringState === "complete" && resolve();
    });
    await this.pc.setLocalDescription();
    await gathered;
    const { type, sdp } = this.pc.localDescription;
    return { type, sdp };
  }

  async take_description(description) {
    await this.pc.setRemoteDescription(description);
  }

  // Seconds until all is received, and the peer told so.
  count() {
    this.channel.onmessage = ({ data }) => {
      this.received += data.byteLength;
      if (this.received >= this.size) {
        this.channel.send("done");
        this.finish();
      }
    };
  }

  async receive() {
    const began = performance.now();
    await this.done;
    return (performance.now() - began) / 1000;
  }

  // Seconds until the peer says that it has everything.
  async send() {
    const { channel, message, highWater } = this;
    const began = performance.now();
    channel.onmessage = this.finish;
    channel.bufferedAmountLowThreshold = highWater / 4;
    for (let left = this.size; left > 0; left -= message.byteLength) {
      if (channel.bufferedAmount > highWater) {
        await new Promise((resolve) => (channel.onbufferedamountlow = resolve));
      }
      channel.send(left < message.byteLength ? message.subarray(0, left) : message);
    }
    await this.done;
    return (performance.now() - began) / 1000;
  }

  async stats() {
    return [...(await this.pc.getStats()).values()];
  }
}
