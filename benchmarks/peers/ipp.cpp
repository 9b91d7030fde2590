// Intel IPP's two linear filters behind a plan that is made once and run many times.
// Images are float32, steps are in bytes; the source pointer is the first pixel whose window lies
// inside the image, so that the filter reads its margins from memory: a 'valid' correlation.
#include <ipp/ippcore.h>
#include <ipp/ippcv.h>
#include <ipp/ippi.h>
#include <ipp/ipps.h>

#include <memory>

namespace {

struct Free {
    void operator()(Ipp8u* memory) const { ippsFree(memory); }
};
using Memory = std::unique_ptr<Ipp8u, Free>;

struct Plan {
    bool separable;
    IppiSize out;
    Memory spec, scratch;
};

Memory memory(int bytes) { return Memory(ippsMalloc_8u(bytes > 0 ? bytes : 1)); }

}  // namespace

extern "C" {

const char* ipp_version() {
    ippInit();
    return ippiGetLibVersion()->Version;
}

void ipp_free(Plan* plan) { delete plan; }

// Taps stand in the order of a correlation: from IPP 9 on its filters do not flip them.
Plan* ipp_separable(const float* rows, const float* columns, int k_width, int k_height, int width,
                    int height) {
    ippInit();
    auto plan = std::make_unique<Plan>();
    plan->separable = true;
    plan->out = {width, height};
    const IppiSize kernel = {k_width, k_height};
    int spec = 0, scratch = 0;
    if (ippiFilterSeparableGetSpecSize(kernel, ipp32f, 1, &spec) != ippStsNoErr ||
        ippiFilterSeparableGetBufferSize(plan->out, kernel, ipp32f, ipp32f, 1, &scratch) !=
            ippStsNoErr)
        return nullptr;
    plan->spec = memory(spec);
    plan->scratch = memory(scratch);
    if (!plan->spec || !plan->scratch ||
        ippiFilterSeparableInit_32f(rows, columns, kernel, ipp32f, 1,
                                    reinterpret_cast<IppiFilterSeparableSpec*>(
                                        plan->spec.get())) != ippStsNoErr)
        return nullptr;
    return plan.release();
}

Plan* ipp_direct(const float* taps, int k_width, int k_height, int width, int height) {
    ippInit();
    auto plan = std::make_unique<Plan>();
    plan->separable = false;
    plan->out = {width, height};
    const IppiSize kernel = {k_width, k_height};
    int spec = 0, scratch = 0;
    if (ippiFilterBorderGetSize(kernel, plan->out, ipp32f, ipp32f, 1, &spec, &scratch) !=
        ippStsNoErr)
        return nullptr;
    plan->spec = memory(spec);
    plan->scratch = memory(scratch);
    if (!plan->spec || !plan->scratch ||
        ippiFilterBorderInit_32f(taps, kernel, ipp32f, 1, ippRndNear,
                                 reinterpret_cast<IppiFilterBorderSpec*>(plan->spec.get())) !=
            ippStsNoErr)
        return nullptr;
    return plan.release();
}

int ipp_run(const Plan* plan, const float* source, int source_step, float* out, int out_step) {
    if (plan->separable)
        return ippiFilterSeparable_32f_C1R(
            source, source_step, out, out_step, plan->out, ippBorderInMem, 0.0F,
            reinterpret_cast<const IppiFilterSeparableSpec*>(plan->spec.get()),
            plan->scratch.get());
    const float nothing = 0;
    return ippiFilterBorder_32f_C1R(source, source_step, out, out_step, plan->out, ippBorderInMem,
                                    &nothing,
                                    reinterpret_cast<const IppiFilterBorderSpec*>(
                                        plan->spec.get()),
                                    plan->scratch.get());
}
}
