// A stream through WebRTC's NetEq, with packets lost and no jitter.
//
//   neteq_driver RATE CHANNELS PACKET_SAMPLES IN TRACE OUT DELAYS
//
// IN and OUT are interleaved int16 samples, TRACE one byte a packet, '1' for lost. Packets are
// uncompressed (L16), so that there is no codec's concealment and no coding noise. Every 10 ms of
// a simulated clock the packets that are due are inserted and 10 ms are taken out. For each of
// these a line in DELAYS says how many samples the output is behind the recording; there is none
// where NetEq does not know. Time stretching is off: it serves jitter, and there is none.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "api/audio/audio_frame.h"
#include "api/audio_codecs/L16/audio_decoder_L16.h"
#include "api/audio_codecs/audio_decoder_factory_template.h"
#include "api/neteq/neteq.h"
#include "api/rtp_headers.h"
#include "modules/audio_coding/neteq/default_neteq_factory.h"
#include "system_wrappers/include/clock.h"

namespace {

constexpr int kPayloadType = 96;
constexpr int kTicksPerSecond = 100;
// What is taken out behind the last packet, as the output comes late.
constexpr int kTailTicks = 50;

template <typename T>
std::vector<T> ReadAll(const char* path) {
  std::FILE* file = std::fopen(path, "rb");
  if (!file) {
    std::fprintf(stderr, "cannot read %s\n", path);
    std::exit(1);
  }
  std::vector<T> all;
  T one;
  while (std::fread(&one, sizeof(T), 1, file) == 1) all.push_back(one);
  std::fclose(file);
  return all;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 8) {
    std::fprintf(stderr, "usage: %s RATE CHANNELS PACKET_SAMPLES IN TRACE OUT DELAYS\n", argv[0]);
    return 2;
  }
  const int rate = std::atoi(argv[1]);
  const size_t channels = std::atoi(argv[2]);
  const size_t packet = std::atoi(argv[3]);
  const std::vector<int16_t> samples = ReadAll<int16_t>(argv[4]);
  const std::vector<char> trace = ReadAll<char>(argv[5]);
  if (samples.size() < trace.size() * packet * channels) {
    std::fprintf(stderr, "the audio is shorter than the trace\n");
    return 1;
  }
  std::FILE* out = std::fopen(argv[6], "wb");
  std::FILE* delays = std::fopen(argv[7], "w");
  if (!out || !delays) {
    std::fprintf(stderr, "cannot write %s or %s\n", argv[6], argv[7]);
    return 1;
  }

  webrtc::SimulatedClock clock(0);
  webrtc::NetEq::Config config;
  config.sample_rate_hz = rate;
  config.for_test_no_time_stretching = true;
  std::unique_ptr<webrtc::NetEq> neteq = webrtc::DefaultNetEqFactory().CreateNetEq(
      config, webrtc::CreateAudioDecoderFactory<webrtc::AudioDecoderL16>(), &clock);
  const webrtc::SdpAudioFormat format("L16", rate, channels);
  if (!neteq->RegisterPayloadType(kPayloadType, format)) {
    std::fprintf(stderr, "NetEq refuses L16 at %d Hz with %zu channels\n", rate, channels);
    return 1;
  }

  const size_t total = trace.size() * packet;
  const size_t block = rate / kTicksPerSecond;
  const size_t ticks = (total + block - 1) / block + kTailTicks;
  std::vector<uint8_t> payload(packet * channels * 2);
  webrtc::AudioFrame frame;
  size_t next = 0;
  for (size_t tick = 0; tick < ticks; ++tick) {
    // A packet is due when its last sample has been recorded.
    const size_t now = (tick + 1) * block;
    for (; next < trace.size() && (next + 1) * packet <= now; ++next) {
      if (trace[next] == '1') continue;
      for (size_t i = 0; i < packet * channels; ++i) {  // network byte order
        const uint16_t bits = static_cast<uint16_t>(samples[next * packet * channels + i]);
        payload[2 * i] = bits >> 8;
        payload[2 * i + 1] = bits & 0xff;
      }
      webrtc::RTPHeader header;
      header.payloadType = kPayloadType;
      header.sequenceNumber = static_cast<uint16_t>(next);
      header.timestamp = static_cast<uint32_t>(next * packet);
      header.ssrc = 1;
      if (neteq->InsertPacket(header, payload) != webrtc::NetEq::kOK) {
        std::fprintf(stderr, "NetEq refuses packet %zu\n", next);
        return 1;
      }
    }
    bool muted = false;
    if (neteq->GetAudio(&frame, &muted) != webrtc::NetEq::kOK) {
      std::fprintf(stderr, "NetEq gives no audio at %zu ms\n", tick * 10);
      return 1;
    }
    // Before the first packet NetEq does not know how many channels there are.
    std::vector<int16_t> heard(block * channels, 0);
    if (frame.samples_per_channel_ == block && frame.num_channels_ == channels && !muted)
      heard.assign(frame.data(), frame.data() + block * channels);
    std::fwrite(heard.data(), sizeof(int16_t), heard.size(), out);
    const absl::optional<uint32_t> played = neteq->GetPlayoutTimestamp();
    if (played)
      std::fprintf(delays, "%lld\n", static_cast<long long>(now) - static_cast<int32_t>(*played));
    clock.AdvanceTimeMilliseconds(1000 / kTicksPerSecond);
  }
  const bool written = std::fclose(out) == 0 && std::fclose(delays) == 0;
  return written ? 0 : 1;
}
