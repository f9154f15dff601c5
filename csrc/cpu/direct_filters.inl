// SPDX-License-Identifier: MIT
// The direct correlation's filters as panels, all of a call or one block of the depth. Included inside an ISA region, before
// direct_multiply.inl.

// Packed as elements O: numbers, or pairs of channels.
template <class S, class O, int kPair>
struct DirectFilters {
    // Channels [begin, begin + channels), in elements, of a panel of filters, part after part.
    static void pack(const DirectShape& shape, const Part* parts, int64_t group, int64_t panel, int64_t begin,
                     int64_t channels, O* target) {
        const int64_t first = panel * shape.filter_panel, first_channel = begin * kPair;
        const int64_t numbers = smaller(channels * kPair, shape.source_channels - first_channel);
        for (const Part* part = parts; part < parts + shape.parts; ++part) {
            const Correlation& a = part->a;
            const S* source = static_cast<const S*>(a.weight.data) + group * a.weight_group_stride +
                              first * a.weight.stride[0] + first_channel * a.weight.stride[1];
            // The panel's next channels, or the next panel's first; deep tiles that pack for themselves take a block of all.
            const bool by_block = shape.deep && shape.filters_in_tile;
            const bool more = first_channel + numbers < shape.source_channels && !by_block;
            const int64_t then = more ? first_channel + numbers : by_block ? first_channel : 0;
            const S* next = source + (then - first_channel) * a.weight.stride[1] +
                            (more ? 0 : shape.filter_panel * a.weight.stride[0]);
            FilterPanels<S, O>{a,       shape.filter_panel,
                               source,  smaller(shape.filter_panel, a.filters - first),
                               numbers, target + part->first_tap * channels * shape.filter_panel,
                               next}
                .pack();
        }
    }

    // Where a panel's packed filters begin: [group][panel][part][channel][tap], or, as deep bands read them, from a block's
    // first channel on, [group][block of channels][panel][part][channel][tap].
    static int64_t at(const DirectShape& shape, int64_t group, int64_t panel, int64_t channel) {
        const int64_t row = shape.filter_panel * shape.taps, channels = shape.a.channels;
        const int64_t before = group * shape.filter_panels * channels;
        if (!shape.deep) return (before + panel * channels) * row;
        const int64_t count = smaller(shape.channel_block, channels - channel);
        return (before + channel * shape.filter_panels + panel * count) * row;
    }

    // All of a call, and the table of offsets into a band.
    struct PackTask {
        const DirectShape& shape;
        const Part* parts;
        O* filters;
        int32_t* offsets;
        void operator()(int64_t index, int) const {
            if (index == 0) {
                for (const Part* part = parts; part < parts + shape.parts; ++part)
                    shape.find_offsets(*part, sizeof(O), offsets + part->first_tap * shape.a.channels);
                return;
            }
            const int64_t group = (index - 1) / shape.filter_panels, panel = (index - 1) % shape.filter_panels;
            if (!shape.deep)
                return pack(shape, parts, group, panel, 0, shape.a.channels, filters + at(shape, group, panel, 0));
            for (int64_t channel = 0; channel < shape.a.channels; channel += shape.channel_block)
                pack(shape, parts, group, panel, channel, smaller(shape.channel_block, shape.a.channels - channel),
                     filters + at(shape, group, panel, channel));
        }
    };
};
