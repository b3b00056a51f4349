// A stream through WebRTC's NetEq, with packets that arrive by a schedule.
//
//   neteq_driver RATE CHANNELS PACKET_SAMPLES TICKS STRETCH MIN_DELAY_MS IN ARRIVALS OUT COUNTERS
//
// IN and OUT are interleaved int16 samples. ARRIVALS has a line a packet: when it arrives in ms,
// "lost", or "unsent" of a pause, in which sequence numbers stand still. Packets are uncompressed
// (L16), so that there is no codec's concealment and no coding noise. Every 10 ms of a simulated
// clock the packets that have arrived are inserted and 10 ms are taken out, TICKS times. For each
// a line in COUNTERS says how many samples the output is behind the recording (nan where NetEq
// does not know), and how many samples were made up and inserted so far. Without STRETCH (0) it
// plays neither faster nor slower.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
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
constexpr int kTickMs = 10;
// Of times that were not whole numbers of ms.
constexpr double kRoundingMs = 1e-6;

struct Packet {
  double arrival_ms;
  size_t place;
  uint16_t number;
};

std::vector<int16_t> ReadSamples(const char* path) {
  std::ifstream file(path, std::ios::binary);
  std::vector<int16_t> all;
  int16_t one;
  while (file.read(reinterpret_cast<char*>(&one), sizeof(one))) all.push_back(one);
  return all;
}

// Returns the packets in order of arrival.
std::vector<Packet> ReadArrivals(const char* path) {
  std::ifstream file(path);
  std::vector<Packet> arrived;
  std::string word;
  uint16_t number = 0;
  for (size_t place = 0; file >> word; ++place) {
    if (word == "unsent") continue;
    if (word != "lost") arrived.push_back({std::stod(word), place, number});
    ++number;
  }
  std::stable_sort(arrived.begin(), arrived.end(), [](const Packet& a, const Packet& b) {
    return a.arrival_ms < b.arrival_ms;
  });
  return arrived;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 11) {
    std::fprintf(stderr, "11 words are needed, see the source\n");
    return 2;
  }
  const int rate = std::atoi(argv[1]);
  const size_t channels = std::atoi(argv[2]);
  const size_t packet = std::atoi(argv[3]);
  const int64_t ticks = std::atoi(argv[4]);
  const std::vector<int16_t> samples = ReadSamples(argv[7]);
  const std::vector<Packet> arrivals = ReadArrivals(argv[8]);
  std::FILE* out = std::fopen(argv[9], "wb");
  std::FILE* counters = std::fopen(argv[10], "w");
  if (!out || !counters) {
    std::fprintf(stderr, "cannot write %s or %s\n", argv[9], argv[10]);
    return 1;
  }

  webrtc::SimulatedClock clock(0);
  webrtc::NetEq::Config config;
  config.sample_rate_hz = rate;
  config.for_test_no_time_stretching = std::atoi(argv[5]) == 0;
  config.min_delay_ms = std::atoi(argv[6]);
  std::unique_ptr<webrtc::NetEq> neteq = webrtc::DefaultNetEqFactory().CreateNetEq(
      config, webrtc::CreateAudioDecoderFactory<webrtc::AudioDecoderL16>(), &clock);
  const webrtc::SdpAudioFormat format("L16", rate, channels);
  if (!neteq->RegisterPayloadType(kPayloadType, format)) {
    std::fprintf(stderr, "NetEq refuses L16 at %d Hz with %zu channels\n", rate, channels);
    return 1;
  }

  const size_t block = rate * kTickMs / 1000;
  std::vector<uint8_t> payload(packet * channels * 2);
  webrtc::AudioFrame frame;
  auto next = arrivals.begin();
  for (int64_t tick = 1; tick <= ticks; ++tick) {
    for (; next != arrivals.end() && next->arrival_ms <= tick * kTickMs + kRoundingMs; ++next) {
      const size_t begin = next->place * packet * channels;
      if (begin + packet * channels > samples.size()) {
        std::fprintf(stderr, "the audio is shorter than the schedule\n");
        return 1;
      }
      for (size_t i = 0; i < packet * channels; ++i) {  // network byte order
        const uint16_t bits = static_cast<uint16_t>(samples[begin + i]);
        payload[2 * i] = bits >> 8;
        payload[2 * i + 1] = bits & 0xff;
      }
      webrtc::RTPHeader header;
      header.payloadType = kPayloadType;
      header.sequenceNumber = next->number;
      header.timestamp = static_cast<uint32_t>(next->place * packet);
      header.ssrc = 1;
      if (neteq->InsertPacket(header, payload) != webrtc::NetEq::kOK) {
        std::fprintf(stderr, "NetEq refuses packet %zu\n", next->place);
        return 1;
      }
    }
    bool muted = false;
    if (neteq->GetAudio(&frame, &muted) != webrtc::NetEq::kOK) {
      std::fprintf(stderr, "NetEq gives no audio at %lld ms\n",
                   static_cast<long long>(tick * kTickMs));
      return 1;
    }
    // Before the first packet NetEq does not know how many channels there are.
    std::vector<int16_t> heard(block * channels, 0);
    if (frame.samples_per_channel_ == block && frame.num_channels_ == channels && !muted)
      heard.assign(frame.data(), frame.data() + block * channels);
    std::fwrite(heard.data(), sizeof(int16_t), heard.size(), out);
    const absl::optional<uint32_t> played = neteq->GetPlayoutTimestamp();
    const double behind =
        played ? static_cast<double>(tick * block) - static_cast<int32_t>(*played) : NAN;
    const webrtc::NetEqLifetimeStatistics stats = neteq->GetLifetimeStatistics();
    std::fprintf(counters, "%.0f %llu %llu\n", behind,
                 static_cast<unsigned long long>(stats.concealed_samples),
                 static_cast<unsigned long long>(stats.inserted_samples_for_deceleration));
    clock.AdvanceTimeMilliseconds(kTickMs);
  }
  const bool written = std::fclose(out) == 0 && std::fclose(counters) == 0;
  return written ? 0 : 1;
}
